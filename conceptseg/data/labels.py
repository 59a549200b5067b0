"""What the values of a mask mean: class names, colours, and what is ignored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from conceptseg.data.raster import Raster, without_data
from conceptseg.errors import InputError, few

IGNORE = -1
"""The label of a pixel that is left out of every count."""

Colour = tuple[int, int, int]

_UNKNOWN = -2  # in a lookup table: a raw value that the label block does not name
_NEAR = 64  # a colour this far from a class's may be blurred or compressed rather than another
_TABLE = 1 << 16  # raw values below this are looked up, others searched for


@dataclass(frozen=True)
class LabelBlock:
    """What the values of a mask mean.

    Without `remap`, raw value `first` + i is class i; with it, `remap` lists every raw value that
    is a class. With `threshold`, values below its first number are class 0, from there on class 1,
    and so on. Values in `ignore` become :data:`IGNORE`. RGB masks go by `colours` (one per class)
    and `ignore_colours` instead, of which the nearest counts that no channel leaves by more than
    `tolerance`; without `colours`, one of three equal channels is grey. Anything else in a mask is
    an error. Where each class has a mask file of its own, `overlap` says what pixels of two classes
    are, and `missing` what a class without a file is.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None
    ignore: tuple[int, ...] = ()
    ignore_colours: tuple[Colour, ...] = ()
    background: str | None = None
    remap: Mapping[int, int] = field(default_factory=dict)
    first: int = 0
    threshold: tuple[float, ...] = ()
    tolerance: int = 0
    overlap: Literal["refuse", "last"] = "refuse"
    missing: Literal["refuse", "absent"] = "refuse"

    @property
    def graded(self) -> bool:
        """Whether values near to another mean the same, so that lossy masks can be read."""
        return bool(self.threshold or self.tolerance)

    def read(self, mask: Raster, where: str) -> np.ndarray:
        """The classes of a mask as a file holds it: :meth:`encode` of what its values stand for.

        Indices stand for themselves, and a palette is for the eye; but where the palette's colours
        are those of other classes than the indices', each file has an order of its own, as tools
        that shrink colour masks make it, and the colours count. A threshold that no value of a file
        could reach is meant on the scale of 8 bits.
        """
        return self.encode(self.meant(mask, where), where, mask.nodata)

    def meant(self, mask: Raster, where: str) -> np.ndarray:
        """What the values of a mask stand for, before they are classes."""
        values, highest = mask.values, mask.white
        if mask.palette is not None:
            if self.colours is not None:
                return mask.palette[values] if self._by_colour(values, mask.palette) else values
            highest = len(mask.palette) - 1
        if highest is None or not self.threshold or self.threshold[-1] <= highest:
            return values
        if mask.palette is None:
            return values.astype(np.float64) * (255 / highest)
        if (grey := grey_of(mask)) is None:
            raise InputError(
                f"{where}: an indexed mask, whose {highest + 1} indices no labels.threshold of "
                f"{self.threshold[-1]:g} parts; leave the key out, or save the mask as grey"
            )
        return grey

    def _by_colour(self, values: np.ndarray, palette: np.ndarray) -> bool:
        """Whether an indexed mask goes by its palette and not by its indices."""
        indices = np.unique(values).tolist()
        listed = [*(self.colours or ()), *self.ignore_colours]
        classes = [*range(len(self.names)), *[IGNORE] * len(self.ignore_colours)]
        known = dict(zip(listed, classes, strict=True))
        colours = [tuple(colour) for colour in palette.tolist()]
        if indices[-1] >= len(colours):
            return False
        meant = [self._classes.get(index, _UNKNOWN) for index in indices]
        shown = [known.get(colours[index], _UNKNOWN) for index in indices]
        if len(known) < len(listed) or _UNKNOWN in shown or shown == meant:
            return False
        while len(colours) > indices[-1] + 1 and not any(colours[-1]):
            colours.pop()  # what fills a palette up
        return _UNKNOWN in meant or all(colour in known for colour in colours)

    def encode(self, raw: np.ndarray, where: str, nodata: float | None = None) -> np.ndarray:
        """Mask values [h, w], or colours [h, w, 3], to classes: int64 [h, w], -1 where ignored.

        `nodata`, which a file declares, is ignored too unless the block makes a class of it.
        Raises :class:`~conceptseg.errors.InputError` that begins with `where` for any value or
        colour that the block does not name.
        """
        if raw.ndim == 3:
            if self.colours is not None:
                return self._encode_colours(raw, where)
            if (raw != raw[..., :1]).any():
                raise InputError(f"{where}: a mask in colours; give labels.colours, one per class")
            raw = raw[..., 0]
        if self.threshold:
            return self._encode_grades(raw, where, nodata)
        if raw.dtype.kind == "f":
            raise InputError(f"{where}: a mask of {raw.dtype}; give labels.threshold")
        if raw.size and raw.min() >= 0 and raw.max() < _TABLE:
            labels = self._table[raw]
        else:
            values, inverse = np.unique(raw, return_inverse=True)
            known = [self._classes.get(int(value), _UNKNOWN) for value in values]
            labels = np.array(known, np.int64)[inverse.reshape(raw.shape)]
        hidden = without_data(raw, nodata)
        if hidden is not None:
            labels[hidden & (labels == _UNKNOWN)] = IGNORE
        if labels.size and labels.min() == _UNKNOWN:
            unknown = np.unique(raw[labels == _UNKNOWN]).tolist()
            grey = "; of grey edges labels.threshold: 128, say, in place of remap, makes classes"
            grey = grey if len(unknown) > 2 and unknown[-1] > len(self.names) else ""
            raise InputError(
                f"{where}: {_several('value', unknown)} outside the label block "
                f"({self._describe()}); add it to labels.remap or labels.ignore{grey}"
            )
        return labels

    def _encode_grades(self, raw: np.ndarray, where: str, nodata: float | None) -> np.ndarray:
        """The number of thresholds that a value reaches; NaN is ignored where it is no data."""
        if len(self.threshold) != len(self.names) - 1:
            raise InputError(
                f"{where}: {len(self.threshold)} values of labels.threshold part "
                f"{len(self.threshold) + 1} classes, but there are {len(self.names)} names"
            )
        labels = np.searchsorted(np.array(self.threshold), raw, side="right").astype(np.int64)
        labels[np.isin(raw, np.array(self.ignore, np.float64))] = IGNORE
        if raw.dtype.kind == "f" and (nan := np.isnan(raw)).any():
            if nodata is None or not np.isnan(nodata):
                raise InputError(f"{where}: a mask with NaN; replace it")
            labels[nan] = IGNORE
        return labels

    @cached_property
    def _classes(self) -> dict[int, int]:
        """Raw value -> class; with thresholds every class stands for itself."""
        first = 0 if self.threshold else self.first
        classes = dict(self.remap) or {first + index: index for index in range(len(self.names))}
        return classes | ({} if self.threshold else dict.fromkeys(self.ignore, IGNORE))

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(_TABLE, _UNKNOWN, np.int64)
        for value, index in self._classes.items():
            if 0 <= value < _TABLE:
                table[value] = index
        return table

    def _encode_colours(self, raw: np.ndarray, where: str) -> np.ndarray:
        """The class of the nearest colour; distances are computed once for each colour there is."""
        red, green, blue = (raw[..., band].astype(np.uint32) for band in range(3))
        drawn = red << 16 | green << 8 | blue
        codes = np.unique(drawn).astype(np.int64)
        found = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1)
        known = np.array([*(self.colours or ()), *self.ignore_colours], np.int64)
        nearest, best = np.zeros(len(codes), np.int64), np.full(len(codes), np.iinfo(np.int64).max)
        for index, colour in enumerate(known):
            squared = ((found - colour) ** 2).sum(1)
            nearer = squared < best
            nearest[nearer], best[nearer] = index, squared[nearer]
        off = np.abs(found - known[nearest]).max(1, initial=0)
        if (off > self.tolerance).any():
            unknown = [_colour(code) for code in codes[off > self.tolerance].tolist()]
            near = f"; or set labels.tolerance: {off.max()}" if off.max() <= _NEAR else ""
            raise InputError(
                f"{where}: {_several('colour', unknown)} that no class has; "
                f"add it to labels.colours or labels.ignore_colours{near}"
            )
        classes = [*range(len(self.names)), *[IGNORE] * len(self.ignore_colours)]
        of_code = np.array(classes, np.int64)[nearest]
        return of_code[np.searchsorted(codes, drawn)].reshape(raw.shape[:2])

    @cached_property
    def used(self) -> tuple[int, ...]:
        """Indices of the classes that a mask can hold."""
        hidden = {
            index
            for index, colour in enumerate(self.colours or ())
            if colour in self.ignore_colours
        }
        return tuple(sorted(set(self._classes.values()) - hidden - {IGNORE}))

    def _describe(self) -> str:
        if self.remap:
            classes = "remap lists " + ", ".join(map(str, sorted(self.remap)))
        else:
            classes = f"classes are {self.first} to {self.first + len(self.names) - 1}"
        ignored = ", ".join(map(str, self.ignore)) or "none"
        return f"{classes}; ignored: {ignored}"


def grey_of(mask: Raster) -> np.ndarray | None:
    """[h, w] of an indexed mask whose colours are all grey: how bright they are; else None."""
    if mask.palette is None or mask.values.max() >= len(mask.palette):
        return None
    used = mask.palette[np.unique(mask.values)]
    return mask.palette[mask.values][..., 0] if (used == used[:, :1]).all() else None


def of_one_class(mask: Raster) -> np.ndarray:
    """[h, w], or in colours, which is 0 outside of the class that a mask of one class shows: its
    values; the brightness of an indexed one whose index 0 is the brighter of greys."""
    grey = grey_of(mask)
    bright = grey is not None and bool(grey[mask.values == 0].any())
    return grey if grey is not None and bright else mask.values


def wrong_names(names: Sequence[str]) -> str:
    """What is wrong with the names of classes; empty where nothing is."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"the class {twice[0]!r} is listed twice"
    if any(not name.strip() or not name.isprintable() for name in names):
        return "a class name is empty or holds characters that do not print"
    return ""


def plain_name(name: str) -> str:
    """A class name without case and marks: `__background__` is `background`."""
    return "".join(c for c in name.lower() if c.isalnum())


def places(names: Sequence[str], among: Sequence[str]) -> list[int | None]:
    """Where each name is in another list: the same name, else the only one that is plainly so.

    None for a name that is not there.
    """
    plain = [plain_name(name) for name in among]
    found: list[int | None] = []
    for name in names:
        same = [i for i, other in enumerate(among) if other == name]
        same = same or [i for i, other in enumerate(plain) if other and other == plain_name(name)]
        found.append(same[0] if len(same) == 1 else None)
    return found


def _colour(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"


def _several(what: str, values: Sequence[Any]) -> str:
    return f"has the {what}{'s' if len(values) > 1 else ''} {few(values, 5)}"

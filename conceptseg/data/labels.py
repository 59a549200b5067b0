"""What the values of a mask mean: class names, colours, and what is ignored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from conceptseg.errors import InputError

IGNORE = -1
"""The label of a pixel that is left out of every count."""

Colour = tuple[int, int, int]

_UNKNOWN = -2  # in a lookup table: a raw value that the label block does not name
_TABLE = 1 << 16  # raw values below this are looked up, others searched for


@dataclass(frozen=True)
class LabelBlock:
    """What the values of a mask mean.

    Without `remap`, raw value i is class i; with it, `remap` lists every raw value that is a
    class. Values in `ignore` become :data:`IGNORE`. RGB masks go by `colours` (one per class) and
    `ignore_colours` instead. Anything else in a mask is an error.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None
    ignore: tuple[int, ...] = ()
    ignore_colours: tuple[Colour, ...] = ()
    background: str | None = None
    remap: Mapping[int, int] = field(default_factory=dict)

    def encode(self, raw: np.ndarray, where: str) -> np.ndarray:
        """Mask values [h, w], or colours [h, w, 3], to classes: int64 [h, w], -1 where ignored.

        Raises :class:`~conceptseg.errors.InputError` that begins with `where` for any value or
        colour that the block does not name.
        """
        if raw.ndim == 3:
            return self._encode_colours(raw, where)
        if raw.size and raw.min() >= 0 and raw.max() < _TABLE:
            labels = self._table[raw]
        else:
            values, inverse = np.unique(raw, return_inverse=True)
            known = [self._classes.get(int(value), _UNKNOWN) for value in values]
            labels = np.array(known, np.int64)[inverse.reshape(raw.shape)]
        if labels.size and labels.min() == _UNKNOWN:
            unknown = np.unique(raw[labels == _UNKNOWN]).tolist()
            raise InputError(
                f"{where}: {_several('value', unknown)} outside the label block "
                f"({self._describe()}); add it to labels.remap or labels.ignore"
            )
        return labels

    @cached_property
    def _classes(self) -> dict[int, int]:
        classes = dict(self.remap) or {index: index for index in range(len(self.names))}
        return classes | dict.fromkeys(self.ignore, IGNORE)

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(_TABLE, _UNKNOWN, np.int64)
        for value, index in self._classes.items():
            if 0 <= value < _TABLE:
                table[value] = index
        return table

    def _encode_colours(self, raw: np.ndarray, where: str) -> np.ndarray:
        if self.colours is None:
            raise InputError(f"{where}: a mask in colours; give labels.colours, one per class")
        palette = {_code(colour): index for index, colour in enumerate(self.colours)}
        palette |= {_code(colour): IGNORE for colour in self.ignore_colours}
        codes = np.array(sorted(palette), np.int64)
        red, green, blue = (raw[..., band].astype(np.int64) for band in range(3))
        code = red << 16 | green << 8 | blue
        place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
        wrong = codes[place] != code
        if wrong.any():
            unknown = [_colour(value) for value in np.unique(code[wrong]).tolist()]
            raise InputError(
                f"{where}: {_several('colour', unknown)} that no class has; "
                "add it to labels.colours or labels.ignore_colours"
            )
        return np.array([palette[code] for code in codes.tolist()], np.int64)[place]

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
            classes = f"classes are 0 to {len(self.names) - 1}"
        ignored = ", ".join(map(str, self.ignore)) or "none"
        return f"{classes}; ignored: {ignored}"


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


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _colour(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"


def _several(what: str, values: Sequence[Any]) -> str:
    shown = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
    return f"has the {what}{'s' if len(values) > 1 else ''} {shown}"

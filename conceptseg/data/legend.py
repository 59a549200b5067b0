"""What the values of masks probably mean: a guess at a label block, with its reasons.

Masks are opened; the guess is for whoever writes a manifest, who reads and corrects it. What reads
masks for a study guesses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.data.decode import decode
from conceptseg.data.images import as_mask
from conceptseg.data.raster import MAX_PIXELS, Raster, Rules, most
from conceptseg.errors import InputError, few

OPENED = 200
"""Files that are opened at most, evenly over all."""
MOST_CLASSES = 64
"""More values than these are no classes."""
VOID = 255
"""Which many data sets give to pixels that nobody has labelled; white of 8 bits."""
UNLABELLED = -1
"""The same, where numbers have a sign."""
LEAST_SOFT = 8
"""Fewer values than these are classes, if nobody says how many classes there are."""


@dataclass(frozen=True)
class Legend:
    """Keys of a label block, and sentences on why."""

    labels: dict[str, Any]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """What image files hold: keys of a manifest, sentences on why, and the sizes that were seen."""

    keys: dict[str, Any]
    reasons: tuple[str, ...]
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)


def some(paths: Sequence[Path]) -> list[Path]:
    """At most :data:`OPENED` of them, evenly."""
    if len(paths) <= OPENED:
        return list(paths)
    places = np.linspace(0, len(paths) - 1, OPENED).round().astype(int)
    return [paths[place] for place in places]


def look_at_images(paths: Sequence[Path], wanted: int | None = None) -> Look:
    """Channels, alpha and range of image files; `wanted` are the channels that a network takes.

    Raises InputError for a file that cannot be read, and for files of several kinds.
    """
    rasters = [decode(path, 3, MAX_PIXELS, mask=False) for path in some(paths)]
    kinds = Counter(_channels(one) for one in rasters)
    channels = max(kinds)
    if len(kinds) > 1 and set(kinds) != {1, 3}:
        raise InputError(
            f"{paths[0].parent}: images of {' and '.join(map(str, sorted(kinds)))} channels; "
            "convert them to one kind"
        )
    reasons: list[str] = []
    keys: dict[str, Any] = {"channels": channels}
    if len(kinds) > 1:
        reasons.append("some images are grey: they get three equal channels")
    elif channels == 1 and wanted == 3:
        keys["channels"] = 3
        reasons.append("images are grey and the network takes three channels, which are equal")
    if any(one.alpha for one in rasters):
        keys["alpha"] = "drop"
        reasons.append("some images have an alpha channel, which is dropped")
    limits = _limits(rasters)
    if limits is not None:
        keys["range"] = list(limits)
        reasons.append(f"values lie from {limits[0]:g} to {limits[1]:g} in the images opened")
    return Look(keys, tuple(reasons), Counter(one.values.shape[:2] for one in rasters))


def _channels(raster: Raster) -> int:
    return 1 if raster.values.ndim == 2 else raster.values.shape[2] - raster.alpha


def _limits(rasters: Sequence[Raster]) -> tuple[float, float] | None:
    """File values of black and white, where the type does not tell."""
    kinds = {one.values.dtype for one in rasters}
    if any(one.white is not None for one in rasters) or kinds <= {np.dtype(bool), np.dtype("u1")}:
        return None
    low = float(min(one.values.min() for one in rasters))
    high = float(max(one.values.max() for one in rasters))
    whole = all(kind.kind in "ui" for kind in kinds)
    if not whole:
        return None if low >= 0 and high <= 1 else (low, high)
    for bits in (8, 10, 12, 14):
        if low >= 0 and high < 2**bits:
            return 0.0, float(2**bits - 1)
    return None if low >= 0 and high > most(np.dtype("u2")) / 2 else (low, high)


def guess(paths: Sequence[Path], names: Sequence[str] = (), outputs: int | None = None) -> Legend:
    """The label block of masks in one file each.

    `names` are class names, if they are known, and `outputs` the maps that the network puts out.
    Raises InputError for masks that cannot be read, and for values that are no classes.
    """
    seen = _Seen()
    for path in some(paths):
        seen.add(decode(path, 1, MAX_PIXELS, mask=True), path)
        if len(seen.values) > 1 << 16:
            break
    held, graded = seen.together()
    if any(isinstance(one, tuple) for one in held):
        return _colours(held, names, seen.lossy)
    wanted = len(names) or outputs or 0
    if seen.lossy or (not graded and _soft(held, wanted)):
        return _grades(held, names)
    if graded or seen.real:
        return _steps(held, names, wanted)
    return _indices(sorted(held), names, wanted)


class _Seen:
    """The values of some masks, and on how many pixels each lies."""

    def __init__(self) -> None:
        self.values: Counter[Any] = Counter()
        self.depths: dict[float | None, Counter[Any]] = {}
        self.shown: Counter[Any] = Counter()
        self.palette: dict[int, tuple[int, ...]] = {}
        self.lossy = self.real = False
        self.reordered = False

    def add(self, raster: Raster, path: Path) -> None:
        mask = as_mask(raster, path, Rules(), graded=True)
        values = mask.values
        if values.ndim == 3 and (values == values[..., :1]).all():
            values = values[..., 0]
        self.lossy |= raster.lossy is not None
        self.real |= values.dtype.kind == "f"
        held = _held(values)
        if mask.nodata is not None and not 0 <= mask.nodata < MOST_CLASSES:
            held.pop(mask.nodata, None)  # which is left out without being named
        self.values.update(held)
        depth = None if mask.white is None or mask.white >= VOID else mask.white
        self.depths.setdefault(depth, Counter()).update(held)
        if mask.palette is None or max(held, default=0) >= len(mask.palette):
            return
        for index, count in held.items():
            colour = tuple(mask.palette[index].tolist())
            self.shown[colour] += count
            self.reordered |= self.palette.setdefault(index, colour) != colour
        self.reordered |= set(self.palette.values()) == {(255,) * 3, (0,) * 3} and any(
            self.palette.get(0, ())
        )

    def together(self) -> tuple[Counter[Any], bool]:
        """Values, or colours, of all masks on one scale; whether that is brightness.

        Indices are colours where files give them other ones, or white comes before black; and what
        has fewer bits than other masks, which count further than these can, is as bright as it.
        """
        if self.reordered and self.shown.total() == self.values.total():
            return self.shown, False
        deeper = self.depths.get(None, Counter())
        small = [one for one in self.depths if one is not None]
        if not small or not deeper or max(deeper) <= max(small):
            return self.values, False
        if any(isinstance(one, tuple) for one in deeper) or max(deeper) > VOID:
            return self.values, False
        found = Counter(deeper)
        for white in small:
            for value, count in self.depths[white].items():
                found[value * VOID / white] += count
        return found, True


def _soft(values: Counter[Any], wanted: int) -> bool:
    """Whether values are the grey edges of two classes and not classes: what lies between black
    and white is rare, or leaves no gap, and is more than classes are.

    `wanted` classes, if any are known, are two of one map or of two.
    """
    low, high = min(values), max(values)
    if not (low >= 0 and 1 < high <= VOID) or wanted > 2 or len(values) < 3:
        return False
    own = sorted(values)
    between = values.total() - values[low] - values[high]
    rare = between < (0.5 if wanted or len(own) > MOST_CLASSES else 0.2) * values.total()
    uneven = len({b - a for a, b in zip(own, own[1:], strict=False)}) > 2
    if wanted:
        return rare and high > MOST_CLASSES and (uneven or len(own) >= LEAST_SOFT)
    if len(own) > MOST_CLASSES:
        return high == VOID and (rare or own[-2] > VOID - 5)
    return len(own) >= LEAST_SOFT and (low, high) == (0, VOID) and rare and uneven


def guess_each(masks: Mapping[str, Sequence[Path]]) -> Legend:
    """The label block of one binary mask for each class.

    Raises InputError for masks of more than two values that are no grey edges: these hold several
    classes each.
    """
    labels: dict[str, Any] = {"names": ["background", *masks], "background": "background"}
    labels |= {"missing": "absent", "overlap": "last"}
    reasons = ["one folder of masks for each class; pixels of none are background"]
    for name, paths in masks.items():
        seen = _Seen()
        for path in some(paths)[: max(1, OPENED // len(masks))]:
            seen.add(decode(path, 1, MAX_PIXELS, mask=True), path)
        held = seen.together()[0]
        if len(held) <= 2:
            continue
        if not seen.lossy and not _soft(held, 2):
            raise InputError(
                f"{paths[0].parent}: its masks hold {len(held)} values or colours, so that it is "
                f"no folder of one class ({name}) beside others ({few(list(masks), 3)}); move away "
                "the folders that are not meant"
            )
        labels["threshold"] = 128
        reasons.append(f"masks of {name} hold {len(held)} grey values: those from 128 on count")
    return Legend(labels, tuple(reasons))


def _held(values: np.ndarray) -> Counter[Any]:
    """Each value, or colour, and how often; NaN, which masks cannot hold, is left to the reader."""
    if values.ndim == 2:
        found, counts = np.unique(values[values == values], return_counts=True)
        return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    flat = values.reshape(-1, values.shape[2])
    found, counts = np.unique(flat, axis=0, return_counts=True)
    return Counter(dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True)))


def _named(count: int, names: Sequence[str]) -> list[str]:
    """Names of so many classes: those given, else made up."""
    if names:
        if len(names) != count:
            raise InputError(
                f"--classes names {len(names)} classes ({', '.join(names)}), but the masks hold "
                f"{count}: name each of them, by its index"
            )
        return list(names)
    if count == 2:
        return ["background", "object"]
    return ["background", *(f"class {index}" for index in range(1, count))]


def _block(names: list[str], **keys: Any) -> dict[str, Any]:
    """A label block; the first class is background where it is called so."""
    background = {"background": names[0]} if names[0] in ("background", "Background") else {}
    return {"names": names, **background, **keys}


def _indices(values: list[int], names: Sequence[str], wanted: int) -> Legend:
    """Masks of few whole values."""
    shown = f"masks hold the values {few(values, MOST_CLASSES)}"
    void: dict[str, Any] = {}
    reasons = [shown]
    own = [one for one in values if one not in (VOID, UNLABELLED)]
    if min(values) == UNLABELLED and own:
        void, values = {"ignore": UNLABELLED}, [one for one in values if one != UNLABELLED]
    most_classes = max(MOST_CLASSES, wanted + 1)
    if len(own) < len(values) and own and own != [0] and max(own) < most_classes:
        void = {"ignore": [UNLABELLED, VOID] if void else VOID}
    elif len(own) < len(values):
        own = values
    for one in np.atleast_1d(void.get("ignore", [])).tolist():
        reasons.append(f"{one} is taken for pixels that nobody has labelled")
    wanted = len(names) or (wanted if wanted > 1 else 0)
    if min(own) >= 0 and max(own) < most_classes and (len(own) <= MOST_CLASSES or wanted):
        if min(own) == 1 and wanted == max(own):
            return Legend(_block(_named(max(own), names), first=1, **void), tuple(reasons))
        count = max(max(own) + 1, wanted, 2)
        if count > len(own):
            reasons.append(f"{count - len(own)} of {count} classes were not seen")
        return Legend(_block(_named(count, names), **void), tuple(reasons))
    if len(own) > MOST_CLASSES:
        raise _no_classes(own)
    found = _named(len(own), names)
    remap = {value: index for index, value in enumerate(own)}
    return Legend(_block(found, remap=remap, **void), tuple(reasons))


def _no_classes(values: Sequence[float]) -> InputError:
    return InputError(
        f"masks hold {len(values)} values up to {max(values):g}, which are no classes, unless "
        "--classes names them, or a network's --weights have so many outputs; are they instances, "
        "or depths? Save one small number for each class"
    )


def _steps(values: Counter[Any], names: Sequence[str], wanted: int) -> Legend:
    """Masks of few values that are no indices, for they are floats, or as bright as others: parted
    half way."""
    own = sorted(values)
    counted = [one for one in own if one != UNLABELLED]
    whole = all(one == int(one) for one in own)
    if not whole or len(counted) > MOST_CLASSES or _soft(values, wanted):
        return _grades(values, names)
    plain = _indices(list(map(int, own)), names, wanted).labels
    void = [float(one) for one in np.atleast_1d(plain.get("ignore", [])).tolist()]
    counted = [one for one in counted if one not in void]
    first = int(plain.get("first", 0))
    if "remap" not in plain:
        counted = [float(first + index) for index in range(len(plain["names"]))]
    halves = [(a + b) / 2 for a, b in zip(counted, counted[1:], strict=False)]
    labels = {key: one for key, one in plain.items() if key not in ("remap", "first")}
    labels["threshold"] = halves[0] if len(halves) == 1 else halves
    told = f"masks hold the values {few([f'{one:g}' for one in own], MOST_CLASSES)}"
    return Legend(labels, (f"{told}, as floats or of several depths: parted half way",))


def _grades(values: Counter[Any], names: Sequence[str]) -> Legend:
    highest = max(values)
    middle = 128 if highest > 1 else 0.5
    if len(names) not in (0, 2) or not MOST_CLASSES < highest <= VOID and highest > 1:
        raise _no_classes(sorted(values))
    why = f"masks hold {len(values)} grey values (soft edges, or JPEG): from {middle} on they count"
    return Legend(_block(_named(2, names), threshold=middle), (why,))


def _colours(values: Counter[Any], names: Sequence[str], lossy: bool) -> Legend:
    colours = sorted(
        ((one, one, one) if isinstance(one, int) else one for one in values),
        key=lambda one: (sum(one), one),
    )
    if lossy or len(colours) > MOST_CLASSES:
        raise InputError(
            f"masks hold {len(colours)} colours; which are classes cannot be told: write "
            "labels.colours, one per class, and labels.tolerance"
        )
    found = _named(len(colours), names)
    reasons = (f"masks hold {len(colours)} colours, listed from dark to bright",)
    return Legend(_block(found, colours=[list(one) for one in colours]), reasons)

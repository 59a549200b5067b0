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
from conceptseg.errors import InputError

OPENED = 200
"""Files that are opened at most, evenly over all."""
MOST_CLASSES = 64
"""More values than these are no classes."""
VOID = 255
"""Which many data sets give to pixels that nobody has labelled."""


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
    rules = Rules()
    values: Counter[Any] = Counter()
    graded = coloured = False
    for path in some(paths):
        raster = decode(path, 1, MAX_PIXELS, mask=True)
        mask = as_mask(raster, path, rules, graded=True)
        if mask.values.ndim == 3 and (mask.values == mask.values[..., :1]).all():
            mask = Raster(mask.values[..., 0])
        coloured |= mask.values.ndim == 3
        graded |= raster.lossy is not None or mask.values.dtype.kind == "f"
        values.update(_held(mask.values))
        if len(values) > 1 << 16:
            break
    if coloured:
        return _colours(values, names, graded)
    if graded or len(values) > MOST_CLASSES:
        return _grades(values, names)
    return _indices(sorted(values), names, outputs)


def guess_each(masks: Mapping[str, Sequence[Path]]) -> Legend:
    """The label block of one binary mask for each class."""
    held: Counter[Any] = Counter()
    for paths in masks.values():
        for path in some(paths)[: max(1, OPENED // len(masks))]:
            raster = as_mask(decode(path, 1, MAX_PIXELS, mask=True), path, Rules(), graded=True)
            held.update(_held(raster.values))
    labels: dict[str, Any] = {"names": ["background", *masks], "background": "background"}
    labels |= {"missing": "absent", "overlap": "last"}
    reasons = ["one folder of masks for each class; pixels of none are background"]
    if len(held) > 2:
        labels["threshold"] = 128
        reasons.append(f"masks hold {len(held)} grey values: those from 128 on count")
    return Legend(labels, tuple(reasons))


def _held(values: np.ndarray) -> list[Any]:
    if values.ndim == 2:
        return [one.item() for one in np.unique(values)]
    flat = values.reshape(-1, values.shape[2])
    return [tuple(row) for row in np.unique(flat, axis=0).tolist()]


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


def _indices(values: list[int], names: Sequence[str], outputs: int | None) -> Legend:
    """Masks of few whole values."""
    shown = f"masks hold the values {', '.join(map(str, values))}"
    own = [one for one in values if one != VOID]
    void: dict[str, Any] = {}
    reasons = [shown]
    wanted = len(names) or (outputs if outputs is not None and outputs > 1 else 0)
    if len(own) < len(values) and own and own != [0] and max(own) < MOST_CLASSES:
        void = {"ignore": VOID}
        reasons.append(f"{VOID} is taken for pixels that nobody has labelled")
    elif len(own) < len(values):
        own = values
    if min(own) >= 0 and max(own) < max(MOST_CLASSES, wanted):
        if min(own) == 1 and wanted == max(own):
            return Legend(_block(_named(max(own), names), first=1, **void), tuple(reasons))
        count = max(max(own) + 1, wanted, 2)
        if count > len(own):
            reasons.append(f"{count - len(own)} of {count} classes were not seen")
        return Legend(_block(_named(count, names), **void), tuple(reasons))
    found = _named(len(own), names)
    remap = {value: index for index, value in enumerate(own)}
    return Legend(_block(found, remap=remap, **void), tuple(reasons))


def _grades(values: Counter[Any], names: Sequence[str]) -> Legend:
    highest = max(values)
    middle = 128 if highest > 1 else 0.5
    if len(names) not in (0, 2) or highest > VOID:
        raise InputError(
            f"masks hold {len(values)} values up to {highest:g}, which are no classes; are they "
            "instances, or depths? Save one small number for each class"
        )
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

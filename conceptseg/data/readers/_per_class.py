"""Labels from one binary mask file for each class; pixels of no mask are background."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.images import read_mask_raster
from conceptseg.data.labels import IGNORE, LabelBlock, of_one_class
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError, few, nearest

if TYPE_CHECKING:
    from conceptseg.data.manifest import Sample


def check(
    samples: Sequence[Sample],
    labels: LabelBlock,
    root: Path,
    where: str,
    once: Collection[str] | None = None,
) -> None:
    """Refuses masks of classes that there are not, and what no file or key decides.

    Samples that are known to have no mask besides masks are looked at only until a file is found
    `once` for each of these classes.
    """
    found: dict[str, bool] = {}
    for sample in samples:
        if once is not None and all(found.get(name) for name in once):
            break
        if sample.mask is not None and sample.masks:
            raise InputError(f"{where}: sample {sample.id!r} has both mask and masks; give one")
        for name, path in sample.masks:
            found[name] = found.get(name, False) or os.path.isfile(root / path)
    for name, there in found.items():
        if name not in labels.names:
            raise InputError(
                f"{where}: masks: no class {name!r} in labels.names; {nearest(name, labels.names)}"
            )
        if not there:
            masks = (dict(sample.masks) for sample in samples)
            example = next(one[name] for one in masks if name in one)
            raise InputError(
                f"{where}: masks: no image has a file of the class {name!r} (such as {example}) "
                f"below {root}"
            )
    if found and (labels.background is None or labels.background in found):
        raise InputError(
            f"{where}: with one mask for each class, labels.background names the class of pixels "
            "that lie in none; it has no mask of its own"
        )
    if found and (labels.remap or labels.first or len(labels.threshold) > 1):
        raise InputError(
            f"{where}: with one mask for each class, labels.remap and labels.first mean nothing, "
            "and labels.threshold is one value"
        )


def compose(
    files: Sequence[tuple[str, Path]], block: LabelBlock, rules: Rules, size: tuple[int, int]
) -> np.ndarray:
    """int64 [h, w] of (class, mask file) in turn; `size` [h, w] where no class has a file.

    Raises :class:`~conceptseg.errors.InputError` for a mask that is not binary (nor made so by
    `threshold`), masks of two sizes, and pixels of two classes or a missing file, where the block
    does not say what they mean.
    """
    labels: np.ndarray | None = None
    before: Path | None = None
    background = block.names.index(block.background or block.names[0])
    for name, path in files:
        if block.missing == "absent" and not os.path.exists(path):
            continue
        try:
            inside, ignored = _binary(path, block, rules)
        except InputError as error:
            if os.path.exists(path):
                raise
            raise InputError(
                f"{error} If a class without a file is absent, set labels.missing: absent"
            ) from None
        if labels is None:
            labels, before = np.full(inside.shape, background, np.int64), path
        if inside.shape != labels.shape:
            raise InputError(f"{path}: {inside.shape} pixels, but {before} has {labels.shape}")
        twice = int((inside & (labels != background) & (labels != IGNORE)).sum())
        if twice and block.overlap == "refuse":
            raise InputError(
                f"{path}: {twice} pixels are of {name!r} and of a class listed before; set "
                "labels.overlap: last to let the class that is listed last lie on top, or, if the "
                "network has a yes or no of its own for each class, model.values: independent"
            )
        labels[inside] = block.names.index(name)
        labels[ignored] = IGNORE
    return np.full(size, background, np.int64) if labels is None else labels


def _binary(path: Path, block: LabelBlock, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Where the class is, and where pixels are ignored: bool [h, w] each."""
    mask = read_mask_raster(path, rules, block.graded)
    plain = dataclasses.replace(block, colours=None, ignore_colours=())  # those are of all classes
    raw = plain.meant(mask, str(path)) if block.threshold else of_one_class(mask)
    if raw.ndim == 3:
        if (raw != raw[..., :1]).any():
            raise InputError(
                f"{path}: the mask of one class in colours; save it in black and white"
            )
        raw = raw[..., 0]
    ignored = np.isin(raw, np.array(block.ignore, np.int64))
    if block.threshold:
        return (raw >= block.threshold[0]) & ~ignored, ignored
    values = np.unique(raw[~ignored])
    if raw.dtype.kind == "f" or np.count_nonzero(values) > 1:
        raise InputError(
            f"{path}: the mask of one class holds {len(values)} values "
            f"({few(values.tolist(), 5)}); set labels.threshold to the least that is the class"
        )
    return (raw != 0) & ~ignored, ignored

"""Concept masks of the user's own: image files below the manifest's root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.images import read_mask
from conceptseg.data.readers._files import relative, resolve
from conceptseg.data.readers._folders import fill
from conceptseg.errors import InputError
from conceptseg.study.dissect.sources import ConceptSource, View
from conceptseg.study.dissect.vocabulary import Category

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from conceptseg.data.manifest import Manifest, Sample


class UserMasks(ConceptSource):
    """One concept, whose mask (any value but zero) lies in a file for each image.

    The pattern is a path relative to the manifest's root in which {id}, {split}, {group} and the
    names of metadata columns stand for the sample's own; so a column of the manifest can hold the
    path itself. Images without such a file, or with an empty cell, count as not annotated.

    Raises InputError if the manifest has no root, or no image has the file.
    """

    def __init__(self, name: str, pattern: str, manifest: Manifest) -> None:
        self.category = Category(f"mask {name}", (name,))
        self._where = f"masks.{name}"
        self._pattern = pattern
        self._manifest = manifest
        if manifest.root is None:
            raise InputError(
                f"{self._where}: manifest {manifest.name!r} has no root folder in which masks "
                "could lie"
            )
        self.missing = tuple(s.id for s in manifest.samples if self._path(s) is None)
        if len(self.missing) == len(manifest.samples):
            raise InputError(
                f"{self._where}: no image has a file {pattern!r} below {manifest.root}; write the "
                "path relative to the root, with {id} or a metadata column in braces"
            )

    def map(self, view: View) -> Tensor:
        import torch

        slots = torch.full(view.truth().shape, self.category.unknown, dtype=torch.int64)
        for i, sample_id in enumerate(view.ids):
            sample = self._manifest.sample(sample_id)
            path = self._path(sample)
            if path is not None:
                values = self._manifest.source.as_shown(sample, read_mask(path))
                slots[i] = torch.from_numpy(self._slots(path, values, tuple(slots.shape[1:])))
        return slots.to(view.images.device)

    def _slots(self, path: Path, values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        shown = (values if values.ndim == 2 else values.any(-1)) != 0
        if shown.shape != size:
            raise InputError(
                f"{path}: the mask is {shown.shape[0]} x {shown.shape[1]} pixels (h x w), its "
                f"image {size[0]} x {size[1]}; they must have one size"
            )
        return np.where(shown, 0, 1).astype(np.int64)

    def _path(self, sample: Sample) -> Path | None:
        words = {name: sample.metadata.get(name, "") for name in self._manifest.metadata}
        words |= {"id": sample.id, "split": sample.split or "", "group": sample.group}
        text = fill(self._pattern, words, self._where)
        root = self._manifest.root
        if not text.strip() or root is None:
            return None
        path = resolve(root, relative(text, self._where))
        return path if path.is_file() else None

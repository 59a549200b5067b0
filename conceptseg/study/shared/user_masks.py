"""Concepts that the user has drawn: one mask file for each image."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from conceptseg.data.hashed import gathered
from conceptseg.data.images import read_mask_raster
from conceptseg.data.labels import of_one_class
from conceptseg.data.manifest import Manifest
from conceptseg.data.pattern import Pattern
from conceptseg.data.raster import Rules
from conceptseg.data.reads import record_beside
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError


class UserMask:
    """One concept, whose mask (any value but zero) lies in a file for each image.

    The file is named by a :class:`~conceptseg.data.pattern.Pattern`. `missing` are the images
    without such a file, or with an empty cell.

    Raises InputError if the manifest has no root, or no image has the file.
    """

    def __init__(self, name: str, pattern: str, manifest: Manifest) -> None:
        self.name = name
        self._where = f"masks.{name}"
        self._file = Pattern(pattern, manifest, self._where).file
        self._manifest = manifest
        if manifest.root is None:
            raise InputError(
                f"{self._where}: manifest {manifest.name!r} has no root folder in which masks "
                "could lie"
            )
        self.missing = tuple(s.id for s in manifest.samples if self._file(s) is None)
        if len(self.missing) == len(manifest.samples):
            raise InputError(
                f"{self._where}: no image has a file {pattern!r} below {manifest.root}; write the "
                "path relative to the root, with {id} or a metadata column in braces"
            )

    def read(self, sample_id: str, size: tuple[int, int]) -> np.ndarray | None:
        """Where it lies, bool [h, w]; None without a file. Raises InputError for another size."""
        sample = self._manifest.sample(sample_id)
        path = self._file(sample)
        if path is None:
            return None
        with gathered() as files:
            values = of_one_class(read_mask_raster(path, Rules()))
        record_beside(self._where, sample, files)
        values = self._manifest.source.as_shown(sample, values)
        shown: np.ndarray = (values if values.ndim == 2 else values.any(-1)) != 0
        if shown.shape != size:
            raise InputError(
                f"{path}: the mask is {shown.shape[0]} x {shown.shape[1]} pixels (h x w), its "
                f"image {size[0]} x {size[1]}; they must have one size"
            )
        return shown

    def holds(self, sample_id: str) -> str:
        """Whether an image holds it: "shown", "not shown", or "not annotated" without a file."""
        size = self._manifest.size(self._manifest.sample(sample_id))
        found = self.read(sample_id, size)
        return "not annotated" if found is None else "shown" if found.any() else "not shown"


def user_masks(masks: Mapping[str, str], manifest: Manifest) -> list[UserMask]:
    """One for each name and pattern."""
    return [UserMask(name, pattern, manifest) for name, pattern in masks.items()]


MASKS: Key[tuple[UserMask, ...]] = Key("masks", tuple)


class Masked(Protocol):
    """A study that takes the user's masks."""

    @property
    def masks(self) -> Mapping[str, str]: ...


def open_masks(study: Masked, context: Context, known: Known) -> Known:
    """The masks that a study's file names, as a step of its plan.

    Raises InputError for one of which no image has a file.
    """
    return MASKS(tuple(user_masks(study.masks, context.manifest)))


def shown(masks: Sequence[UserMask], sample_id: str, size: tuple[int, int]) -> np.ndarray:
    """Where each lies in an image, bool [q, h, w]; nowhere without a file."""
    maps = np.zeros((len(masks), *size), dtype=bool)
    for own, mask in zip(maps, masks, strict=True):
        if (found := mask.read(sample_id, size)) is not None:
            own[:] = found
    return maps

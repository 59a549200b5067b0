"""NIfTI: slices of volumes as samples; the group of a slice is its volume (the patient).

`volumes` names volumes and their label volumes by patterns, as a native manifest's `folders` do;
several patterns of images are stacked as channels (the modalities of a patient), and so is a
fourth dimension. All volumes of a patient must lie on one grid: shape and affine are compared.
`plane` (axial, coronal, sagittal) shows a slice upright as radiologists do, the patient's right on
the left, whatever way the volume is stored; `plane: 0`, 1 or 2 takes the stored axis instead, with
the later of the two others as rows. Which values are black and white is `range`, or `window`. Needs
nibabel (the extra `nifti`). Source: NIfTI-1 and its affine, in nibabel's RAS+ terms.
"""

import gzip
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from pydantic import Field

from conceptseg.data.decode import reading
from conceptseg.data.hashed import state, unchanged
from conceptseg.data.images import channels_each, to_unit
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.raster import Raster, check_pixels
from conceptseg.data.readers._files import FileSource, resolve
from conceptseg.data.readers._folders import FolderSpec, find
from conceptseg.data.readers._spec import FilesSpec, LabelSpec, parse, root_of
from conceptseg.errors import InputError

Plane = Literal["sagittal", "coronal", "axial", 0, 1, 2]
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
VALUES = 16
"""Values of a volume, at most, as a multiple of `max_pixels`: they are unpacked all at once."""
LONGEST_HEADER = 1 << 28
_KEPT = 1 << 30  # bytes of volumes that are kept unpacked, for slices come in order


class NiftiSpec(FilesSpec):
    """The keys of a NIfTI manifest."""

    channels: int = Field(1, strict=True, ge=1, description="Channels of a slice.")
    labels: LabelSpec = Field(description="The label block over the label volumes' values.")
    volumes: tuple[Any, ...] = Field(min_length=1, description="Patterns of volumes and labels.")
    plane: Plane = Field("axial", description="Which slices: a plane, or an axis as stored.")
    every: int = Field(1, strict=True, ge=1, description="Take every so manyth slice.")
    slices: Literal["all", "labelled"] = Field(
        "all", description="labelled: only slices with a value other than 0 in the label volume."
    )


@dataclass(frozen=True)
class NiftiSource(FileSource):
    """Slices of volumes below `root`; a sample's payload is its place on the axis."""

    plane: Plane

    def pixels(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        paths = self._paths(sample)
        each = channels_each(paths, self.rules)
        slices = [cut(path, self.plane, sample.payload, self.rules.max_pixels) for path in paths]
        pairs = zip(slices, paths, strict=True)
        parts = [to_unit(Raster(s), path, each, self.rules) for s, path in pairs]
        return np.concatenate(parts), None

    def drawn(self, sample: Sample) -> np.ndarray | None:
        if sample.mask is None:
            return None
        path = resolve(self.root, sample.mask)
        values = cut(path, self.plane, sample.payload, self.rules.max_pixels)
        if values.ndim == 2 and values.dtype.kind == "f" and (values == np.rint(values)).all():
            values = values.astype(np.int64)
        if values.ndim != 2:
            raise InputError(f"{path}: a label volume of {values.ndim + 1} dimensions; it needs 3")
        return self.block.encode(values, str(path))

    def orientation(self, sample: Sample) -> int:
        return 1

    def size(self, sample: Sample) -> tuple[int, int]:
        shape, _ = grid(self._paths(sample)[0], self.plane, self.rules.max_pixels)
        left = [n for axis, n in enumerate(shape[:3]) if axis != _axis(self.plane)]
        return left[1], left[0]

    def spacing(self, sample: Sample) -> tuple[float, float] | None:
        _, affine = grid(self._paths(sample)[0], self.plane, self.rules.max_pixels)
        sides = np.sqrt((affine[:3, :3] ** 2).sum(0))
        left = [float(mm) for axis, mm in enumerate(sides) if axis != _axis(self.plane)]
        return left[1], left[0]

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"plane": self.plane}


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(NiftiSpec, spec, where)
    root = root_of(path, keys, root_override)
    if isinstance(keys.nodata, float):
        raise InputError(f"{where}: nodata is not known in volumes; mark such voxels in the labels")
    samples: list[Sample] = []
    for number, entry in enumerate(keys.volumes, 1):
        place = f"{where}: volumes, entry {number}"
        for volume in find(parse(FolderSpec, entry, place), root, place):
            if volume.masks:
                raise InputError(f"{place}: masks is one pattern, of the label volume")
            samples += _slices(volume, keys, root)
    block = keys.labels.block()
    source = NiftiSource(root, keys.rules(), block, keys.plane)
    name = keys.name or path.stem
    return Manifest(name, block, keys.channels, tuple(samples), source, root, where)


def _slices(volume: Sample, keys: NiftiSpec, root: Path) -> list[Sample]:
    """A sample for each slice; the volumes of a sample must lie on one grid."""
    paths = [resolve(root, path) for path in volume.image]
    masks = [] if volume.mask is None else [resolve(root, volume.mask)]
    shape, affine = grid(paths[0], keys.plane, keys.max_pixels)
    for path in [*paths[1:], *masks]:
        other, placed = grid(path, keys.plane, keys.max_pixels)
        if other[:3] != shape[:3] or not np.allclose(placed, affine, atol=1e-3):
            raise InputError(
                f"{path}: lies on another grid (shape {other[:3]} or affine) than {paths[0]} "
                f"({shape[:3]}); resample one to the other"
            )
    axis, digits = _axis(keys.plane), len(str(shape[_axis(keys.plane)] - 1))
    places: Sequence[int] = range(0, shape[axis], keys.every)
    if keys.slices == "labelled":
        if not masks:
            raise InputError(f"{paths[0]}: slices: labelled needs masks")
        places = [k for k in places if cut(masks[0], keys.plane, k, keys.max_pixels).any()]
    return [
        replace(
            volume,
            id=f"{volume.id}_{place:0{digits}d}",
            payload=place,
            metadata={**volume.metadata, "slice": float(place)},
        )
        for place in places
    ]


def grid(path: Path, plane: Plane, max_pixels: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a volume, as `plane` lays it; only the header is read."""
    with reading(path):
        image = _opened(path, plane, max_pixels)
        return tuple(map(int, image.shape)), np.asarray(image.affine)


def cut(path: Path, plane: Plane, place: int, max_pixels: int) -> np.ndarray:
    """A slice [h, w], or [h, w, c] of four dimensions, in the volume's units."""
    with reading(path), unchanged(path):
        values = _volume(path, plane, max_pixels)
        flat = np.swapaxes(np.take(values, place, _axis(plane)), 0, 1)
        return flat[::-1, ::-1] if isinstance(plane, str) else flat


def _axis(plane: Plane) -> int:
    return _AXES[plane] if isinstance(plane, str) else plane


def _opened(path: Path, plane: Plane, max_pixels: int) -> Any:
    """A volume of which the header alone is read, and found to be of a size that can be."""
    try:
        with LoggingOutputSuppressor():  # or what it thinks of a header comes on the screen
            image: Any = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError:
        raise InputError(f"{path}: not a NIfTI volume, whatever its name says") from None
    # Other kinds have their header, or their values, in a further file that nobody names.
    if type(image) not in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        kind = type(image).__name__
        raise InputError(f"{path}: {kind}, not a NIfTI volume in one file; save it as .nii.gz")
    if len(image.shape) not in (3, 4):
        raise InputError(f"{path}: {len(image.shape)} dimensions; a volume has three, or four")
    sides = sorted(image.shape[:3])
    check_pixels(path, sides[1], sides[2], max_pixels)
    values = math.prod(map(int, image.shape))
    if values > VALUES * max_pixels:
        raise InputError(
            f"{path}: {image.shape} voxels are more than {VALUES} times max_pixels; cut it into "
            "parts, or raise max_pixels in the manifest if the file can be trusted"
        )
    begin = int(image.dataobj.offset)
    if not 0 <= begin <= LONGEST_HEADER:
        raise InputError(f"{path}: damaged: its values would begin at byte {begin}")
    needed = begin + image.get_data_dtype().itemsize * values
    if (there := _bytes_of(path, needed)) < needed:
        raise InputError(f"{path}: damaged: {there} of the {needed} bytes that its header promises")
    return nibabel.as_closest_canonical(image) if isinstance(plane, str) else image


def _bytes_of(path: Path, needed: int) -> int:
    """Bytes of a file once unpacked, or `needed` if there are as many.

    The end of a gzip file tells them, but modulo 2^32 and of its last part only: what seems too
    short is unpacked to be sure.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        end = file.seek(0, 2)
        if not packed:
            return end
        file.seek(max(end - 4, 0))
        if int.from_bytes(file.read(4), "little") >= needed:
            return needed
    total = 0
    with gzip.open(path) as unpacked:
        while total < needed and (part := unpacked.read(1 << 20)):
            total += len(part)
    return total


def _check_sum(path: Path, values: np.ndarray) -> None:
    """Read a gzip file to its end, where its checksum stands: nibabel stops at the last value, and
    of a file that is damaged before it, other values would be taken without a word."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return
    left = 16 * values.size + 2 * LONGEST_HEADER  # no value has more bytes than 16
    with gzip.open(path) as unpacked:
        while part := unpacked.read(1 << 20):
            left -= len(part)
            if left < 0:
                raise InputError(f"{path}: damaged: it holds far more than its header promises")


_volumes: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()


def _volume(path: Path, plane: Plane, max_pixels: int) -> np.ndarray:
    """All values of a volume; the last ones are kept, up to a gibibyte."""
    key = (str(path), *state(path), plane)
    if key in _volumes:
        _volumes.move_to_end(key)
        return _volumes[key]
    values = np.asarray(_opened(path, plane, max_pixels).dataobj)
    _check_sum(path, values)
    _volumes[key] = values
    while len(_volumes) > 1 and sum(kept.nbytes for kept in _volumes.values()) > _KEPT:
        _volumes.popitem(last=False)
    return values

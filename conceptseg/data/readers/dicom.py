"""DICOM: a native manifest of slices, each a file or a frame; the group of a sample is its patient.

All keys are those of `native`, whose patterns, lists and tables name the files (`images:
"{series}/{id}.dcm"`). A file of several frames gives a sample for each, named ID_1, ID_2, ... as
DICOM numbers them; its mask must be DICOM of as many frames. A sample without a group gets its
patient's: a short hash of the header's PatientID, which itself is shown nowhere. The metadata
column `slice` is the header's InstanceNumber, or the frame's number. Needs pydicom (the extra
`dicom`).
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.data.decode import reading
from conceptseg.data.formats import dicom
from conceptseg.data.hashed import unchanged
from conceptseg.data.images import as_mask, channels_each, stacked
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.raster import Raster
from conceptseg.data.readers import native
from conceptseg.data.readers._files import FileSource, resolve
from conceptseg.errors import InputError


@dataclass(frozen=True)
class DicomSource(FileSource):
    """Slices below `root`; a sample's payload is its frame in a file of several, from 0."""

    def pixels(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        if sample.payload is None:
            return super().pixels(sample)
        paths = self._paths(sample)
        each = channels_each(paths, self.rules)
        rasters = [self._frame(path, sample.payload, each, mask=False) for path in paths]
        return stacked(rasters, paths, self.rules)

    def labels(self, sample: Sample) -> np.ndarray | None:
        return super().labels(sample) if sample.payload is None else self.pair(sample)[1]

    def drawn(self, sample: Sample) -> np.ndarray | None:
        if sample.payload is None or sample.mask is None:
            return super().drawn(sample)
        path = resolve(self.root, sample.mask)
        raster = self._frame(path, sample.payload, 1, mask=True)
        return self.block.read(as_mask(raster, path, self.rules, self.block.graded), str(path))

    def size(self, sample: Sample) -> tuple[int, int]:
        path = self._paths(sample)[0]
        with reading(path):
            header = dicom.header_of(path)
            return int(header.Rows), int(header.Columns)

    def spacing(self, sample: Sample) -> tuple[float, float] | None:
        path = self._paths(sample)[0]
        with reading(path):
            told = dicom.header_of(path).get("PixelSpacing")
            return None if told is None else (float(told[0]), float(told[1]))

    def orientation(self, sample: Sample) -> int:
        return 1

    def _frame(self, path: Path, frame: int, channels: int, mask: bool) -> Raster:
        with reading(path), unchanged(path), path.open("rb") as file:
            return dicom.read(path, file, channels, self.rules.max_pixels, mask, frame)


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    plain = native.read(path, spec, root_override)
    assert isinstance(plain.source, FileSource)
    source = DicomSource(plain.source.root, plain.source.rules, plain.source.block)
    samples = tuple(one for sample in plain.samples for one in _slices(sample, source.root))
    return dataclasses.replace(plain, samples=samples, source=source)


def _slices(sample: Sample, root: Path) -> Iterator[Sample]:
    """The sample with its header's group and number, or one for each of its frames."""
    file = resolve(root, sample.image[0])
    header = _header(file)
    with reading(file):
        sample = _with_header(sample, file, header)
        frames = dicom.frames_of(file, header)
    if frames == 1:
        yield sample
        return
    others = [*sample.image[1:], *([] if sample.mask is None else [sample.mask])]
    for other in (resolve(root, one) for one in others):
        count = _frames_of_other(other, file, frames)
        if count != frames:
            raise InputError(f"{other}: {count} frames, but {file}, of the same sample, {frames}")
    if sample.masks:
        raise InputError(
            f"{file}: DICOM of {frames} frames with one mask for each class (masks); give one "
            "DICOM file of as many frames, or save one frame a file"
        )
    digits = len(str(frames))
    for frame in range(frames):
        yield dataclasses.replace(
            sample,
            id=f"{sample.id}_{frame + 1:0{digits}d}",
            payload=frame,
            metadata={**sample.metadata, "slice": float(frame + 1)},
        )


def _header(file: Path) -> Any:
    with reading(file):
        return dicom.header_of(file)


def _frames_of_other(other: Path, file: Path, frames: int) -> int:
    try:
        return dicom.frames_of(other, _header(other))
    except InputError as error:
        raise InputError(
            f"{file}: DICOM of {frames} frames, to which {other.name} belongs, which must be DICOM "
            f"of as many frames ({error}); give that under masks, or save one frame a file"
        ) from None


def _with_header(sample: Sample, file: Path, header: Any) -> Sample:
    number = header.get("InstanceNumber")
    patient = str(header.get("PatientID", "") or "")
    metadata = dict(sample.metadata)
    if number is not None:
        metadata.setdefault("slice", float(number))
    group = sample.group
    if group == sample.id:
        if not patient:
            raise InputError(f"{file}: no PatientID; say what the groups are by the key group")
        group = "patient " + hashlib.sha256(patient.encode()).hexdigest()[:8]
    return dataclasses.replace(sample, group=group, metadata=metadata)

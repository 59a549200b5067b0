"""DICOM: a native manifest of single slices; the group of a sample is its patient.

All keys are those of `native`, whose patterns, lists and tables name the files (`images:
"{series}/{id}.dcm"`). A sample without a group gets its patient's: a short hash of the header's
PatientID, which itself is shown nowhere. The metadata column `slice` is the header's
InstanceNumber. Needs pydicom (the extra `dicom`).
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptseg.data.decode import reading
from conceptseg.data.formats.dicom import header_of
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers import native
from conceptseg.data.readers._files import resolve
from conceptseg.errors import InputError


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    plain = native.read(path, spec, root_override)
    root = plain.root or path.parent
    samples = tuple(
        _with_header(sample, resolve(root, sample.image[0])) for sample in plain.samples
    )
    return dataclasses.replace(plain, samples=samples)


def _with_header(sample: Sample, file: Path) -> Sample:
    with reading(file):
        header = header_of(file)
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

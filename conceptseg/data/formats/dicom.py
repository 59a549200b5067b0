"""Reads DICOM: a slice or picture, or a frame of several, in the modality's units (Hounsfield's).

Needs pydicom (the extra `dicom`). Stored values become values by the rescale slope and intercept;
inverted grey (MONOCHROME1) without rescaling is turned round as viewers show it. Which values are
black and white is the manifest's `range`, or its `window`. Source: DICOM PS3.3, C.7.6.3, C.11.1.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from conceptseg.data.raster import Raster, check_pixels
from conceptseg.errors import InputError
from conceptseg.extras import missing

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def read(
    path: Path,
    file: BinaryIO,
    channels: int,
    max_pixels: int,
    mask: bool,
    frame: int | None = None,
) -> Raster:
    """[h, w] or [h, w, 3]; a mask's values are the stored ones. `frame` is counted from 0."""
    header = header_of(path, file)
    frames = frames_of(path, header)
    if frame is None and frames != 1:
        raise InputError(
            f"{path}: DICOM of {frames} frames; read it with format: dicom, whose samples are "
            "frames, or save one frame a file"
        )
    check_pixels(path, int(header.Rows), int(header.Columns), max_pixels)
    values = _pixels(path, file, header, frame or 0)
    kind = str(header.get("PhotometricInterpretation", ""))
    lossy = "lossy DICOM" if str(header.get("LossyImageCompression", "00")) == "01" else None
    if mask or values.ndim == 3:
        return Raster(values, lossy=lossy)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: DICOM colours of kind {kind or 'none'}; save it as RGB or grey")
    stored_bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    slope, intercept = _rescale(header, frame or 0)
    if "ModalityLUTSequence" in header:
        from pydicom.pixels import apply_modality_lut

        values, slope, intercept = apply_modality_lut(values, header), 1.0, 0.0
    if (slope, intercept) != (1.0, 0.0):
        return Raster(values * slope + intercept, lossy=lossy)
    if signed:
        return Raster(values, lossy=lossy)
    most = 2**stored_bits - 1
    values = values.astype(np.uint16)
    return Raster(most - values if kind == "MONOCHROME1" else values, white=most, lossy=lossy)


def frames_of(path: Path, header: Any) -> int:
    """How many frames a file holds, by its header.

    Raises :class:`~conceptseg.errors.InputError` for what holds no pictures.
    """
    if str(header.get("SOPClassUID", "")) == _SEGMENTATION:
        raise InputError(
            f"{path}: a DICOM segmentation object; convert its frames to masks (PNG or NIfTI)"
        )
    if "Rows" not in header or "Columns" not in header:
        raise InputError(f"{path}: a DICOM file without pixels")
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if not 1 <= frames <= path.stat().st_size:  # the least of them takes some bytes
        raise InputError(f"{path}: damaged: {frames} frames in {path.stat().st_size} bytes")
    return frames


def _rescale(header: Any, frame: int) -> tuple[float, float]:
    """Slope and intercept: the frame's own, those of all frames, or the file's (C.7.6.16.2.9)."""
    places = [header]
    for name, index in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", frame),
    ):
        groups = header.get(name) or ()
        if index < len(groups):
            places += groups[index].get("PixelValueTransformationSequence") or ()
    told = [place for place in places if "RescaleSlope" in place or "RescaleIntercept" in place]
    if not told:
        return 1.0, 0.0
    return float(told[-1].get("RescaleSlope", 1)), float(told[-1].get("RescaleIntercept", 0))


def header_of(path: Path, file: BinaryIO | None = None) -> Any:
    """The data set of a DICOM file, perhaps an open one, without its pixels.

    Raises :class:`~conceptseg.errors.InputError` without pydicom, and for what is no DICOM.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise InputError(missing(f"{path}: DICOM", "pydicom")) from None
    with ExitStack() as stack:
        file = file or stack.enter_context(path.open("rb"))
        if _DEFLATED in file.read(1 << 12):  # which is unpacked whole, whatever its size
            raise InputError(f"{path}: DICOM that is deflated as a whole; save it uncompressed")
        file.seek(0)
        try:
            return pydicom.dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            raise InputError(f"{path}: not a DICOM file, whatever its name says") from None


def _pixels(path: Path, file: BinaryIO, header: Any, frame: int) -> np.ndarray:
    """The values of one frame; no other is unpacked."""
    from pydicom.pixels import pixel_array

    try:
        return np.asarray(pixel_array(file, index=frame))
    except (RuntimeError, NotImplementedError, ImportError, AttributeError) as error:
        syntax = getattr(header.file_meta.TransferSyntaxUID, "name", "unknown")
        says = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: pixels in the transfer syntax {syntax}, which cannot be unpacked here "
            f"({says}); install what that names (pylibjpeg, gdcm), or save it uncompressed"
        ) from None

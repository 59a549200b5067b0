"""Reads DICOM: one slice or picture a file, in the modality's units (Hounsfield units of CT).

Needs pydicom (the extra `dicom`). Stored values become values by the rescale slope and intercept;
inverted grey (MONOCHROME1) without rescaling is turned round as viewers show it. Which values are
black and white is the manifest's `range`, or its `window`. Source: DICOM PS3.3, C.7.6.3, C.11.1.
"""

from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.data.raster import Raster, check_pixels
from conceptseg.errors import InputError

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def read(path: Path, channels: int, max_pixels: int, mask: bool) -> Raster:
    """[h, w] or [h, w, 3]; a mask's values are the stored ones."""
    file = header_of(path, pixels=True)
    if str(file.get("SOPClassUID", "")) == _SEGMENTATION:
        raise InputError(
            f"{path}: a DICOM segmentation object; convert its frames to masks (PNG or NIfTI)"
        )
    if "PixelData" not in file:
        raise InputError(f"{path}: a DICOM file without pixels")
    frames = int(file.get("NumberOfFrames", 1) or 1)
    if frames != 1:
        raise InputError(f"{path}: DICOM of {frames} frames; save one frame a file, or as NIfTI")
    check_pixels(path, int(file.Rows), int(file.Columns), max_pixels)
    values = _pixels(path, file)
    kind = str(file.get("PhotometricInterpretation", ""))
    lossy = "lossy DICOM" if str(file.get("LossyImageCompression", "00")) == "01" else None
    if mask or values.ndim == 3:
        return Raster(values, lossy=lossy)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: DICOM colours of kind {kind or 'none'}; save it as RGB or grey")
    stored_bits, signed = int(file.BitsStored), bool(file.PixelRepresentation)
    slope, intercept = float(file.get("RescaleSlope", 1)), float(file.get("RescaleIntercept", 0))
    if "ModalityLUTSequence" in file:
        from pydicom.pixels import apply_modality_lut

        values, slope, intercept = apply_modality_lut(values, file), 1.0, 0.0
    if (slope, intercept) != (1.0, 0.0):
        return Raster(values * slope + intercept, lossy=lossy)
    if signed:
        return Raster(values, lossy=lossy)
    most = 2**stored_bits - 1
    values = values.astype(np.uint16)
    return Raster(most - values if kind == "MONOCHROME1" else values, white=most, lossy=lossy)


def header_of(path: Path, pixels: bool = False) -> Any:
    """The data set of a DICOM file, without its pixels unless asked for.

    Raises :class:`~conceptseg.errors.InputError` without pydicom, and for what is no DICOM.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise InputError(
            f"{path}: DICOM needs the package pydicom: pip install 'conceptseg[dicom]'"
        ) from None
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError:
        raise InputError(f"{path}: not a DICOM file, whatever its name says") from None


def _pixels(path: Path, file: Any) -> np.ndarray:
    try:
        return np.asarray(file.pixel_array)
    except (RuntimeError, NotImplementedError, ImportError, AttributeError) as error:
        syntax = getattr(file.file_meta.TransferSyntaxUID, "name", "unknown")
        says = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: pixels in the transfer syntax {syntax}, which cannot be unpacked here "
            f"({says}); install what that names (pylibjpeg, gdcm), or save it uncompressed"
        ) from None

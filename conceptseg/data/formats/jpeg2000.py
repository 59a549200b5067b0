"""Reads JPEG 2000: Pillow up to 8 bit colour and 16 bit grey, imagecodecs beyond.

Pillow spreads values of any depth over 8 or 16 bits; they are put back to what the file holds, so
that a declared range means the same in every format. Source of the headers: ISO/IEC 15444-1,
annexes A (marker SIZ) and I (boxes).
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from conceptseg.data.formats.pictures import opened
from conceptseg.data.raster import Raster
from conceptseg.errors import InputError
from conceptseg.extras import missing

_START = b"\xff\x4f\xff\x51"  # start of codestream, then the marker of image and tile size


def read(path: Path, file: BinaryIO, channels: int, max_pixels: int, mask: bool) -> Raster:
    """A JPEG 2000 file, values as stored; `white` is the largest of its depth."""
    depths = _depths(path, file)
    if len(set(depths)) != 1:
        raise InputError(f"{path}: JPEG 2000 of bit depths {depths}; save its channels apart")
    bits = depths[0]
    if not 1 <= bits <= 16:
        raise InputError(f"{path}: JPEG 2000 of {bits} bit; save it as 16 bit TIFF")
    file.seek(0)
    with opened(path, file, max_pixels, ("JPEG2000",)) as image:
        image.load()
        told: dict[str, Any] = {
            "white": 2**bits - 1,
            "lossy": "JPEG 2000",
        }
        if image.mode in ("L", "LA", "RGB", "RGBA") and bits <= 8:
            return Raster(np.asarray(image) >> (8 - bits), image.mode in ("LA", "RGBA"), **told)
        if image.mode == "I;16":
            return Raster(np.asarray(image) >> (16 - bits), **told)
        told_by_pillow = image.mode
    try:
        from imagecodecs import jpeg2k_decode
    except ImportError:
        what = f"{bits} bit in {len(depths)} channels ({told_by_pillow}), which"
        raise InputError(missing(f"{path}: JPEG 2000 of {what}", "imagecodecs")) from None
    file.seek(0)
    return Raster(jpeg2k_decode(file.read()), len(depths) in (2, 4), **told)


def _depths(path: Path, file: BinaryIO) -> list[int]:
    """Bits of each channel, from the head of the codestream."""
    if not _to_codestream(file):
        raise InputError(f"{path}: not a JPEG 2000 image, whatever its name says")
    head = file.read(38)
    (count,) = struct.unpack(">H", head[36:])
    channels = file.read(3 * count)[::3]
    if any(channel & 128 for channel in channels):
        raise InputError(f"{path}: JPEG 2000 of signed values; save it as TIFF")
    return [(channel & 127) + 1 for channel in channels]


def _to_codestream(file: BinaryIO) -> bool:
    """Goes behind the start of the codestream: at once, or in the box jp2c."""
    if file.read(4) == _START:
        return True
    file.seek(0)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        begun = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            begun = 16
        if kind == b"jp2c":
            return file.read(4) == _START
        if length < begun:
            return False
        file.seek(length - begun, 1)
    return False

"""Reads PBM, PGM and PPM, plain and binary, 1 to 16 bit, with the values that they hold.

Pillow would spread values over 0 to 255, which a mask's are not. Source: the formats' own manual
pages pbm(5), pgm(5) and ppm(5) of Netpbm.
"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from conceptseg.data.raster import Raster, check_pixels
from conceptseg.errors import InputError

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEAD = re.compile(rb"P([1-6])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})")
_MOST = re.compile(_GAP + rb"(\d{1,5})")


def read(path: Path, file: BinaryIO, channels: int, max_pixels: int, mask: bool) -> Raster:
    """[h, w] or [h, w, 3]; of a PBM image black (1) becomes 0, of a PBM mask 1 stays 1."""
    data = file.read()
    head = _HEAD.match(data)
    if head is None:
        raise InputError(f"{path}: not a PBM, PGM or PPM image, whatever its name says")
    kind, width, height = (int(number) for number in head.groups())
    check_pixels(path, height, width, max_pixels)
    place, most = head.end(), 1
    if kind not in (1, 4):
        found = _MOST.match(data, place)
        most = int(found[1]) if found else 0
        if found is None or not 1 <= most <= 65535:
            raise InputError(f"{path}: damaged: its largest value is not 1 to 65535")
        place = found.end()
    if kind == 4:
        rows = np.frombuffer(data, np.uint8, height * -(-width // 8), place + 1)
        values = np.unpackbits(rows.reshape(height, -1), axis=1)[:, :width]
    else:
        count = height * width * (3 if kind in (3, 6) else 1)
        numbers = _plain(data[place:], kind) if kind < 4 else _binary(data, place + 1, count, most)
        values = numbers[:count].reshape((height, width, 3) if kind in (3, 6) else (height, width))
    if values.size and values.max() > most:
        raise InputError(f"{path}: damaged: holds {values.max()}, more than its largest, {most}")
    values = values.astype(np.uint8 if most < 256 else np.uint16)
    if kind in (1, 4) and not mask:
        values = 1 - values
    return Raster(values, white=most)


def _plain(text: bytes, kind: int) -> np.ndarray:
    """Numbers in decimal; in PBM each digit is one, with or without gaps."""
    text = re.sub(rb"#[^\r\n]*", b"", text)
    words = list(b"".join(text.split())) if kind == 1 else text.split()
    if kind == 1:
        return np.array(words, np.uint8) - np.uint8(ord("0"))
    return np.array(words).astype(np.int64)


def _binary(data: bytes, place: int, count: int, most: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8 if most < 256 else ">u2", count, place)

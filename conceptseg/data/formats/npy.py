"""Reads .npy files: numpy's arrays of numbers, never of objects."""

import math
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from conceptseg.data.raster import Raster, arrange, check_pixels
from conceptseg.errors import InputError

_ONE_AT_A_TIME = Lock()
"""A header is parsed as Python, of which Python 3.11 was seen to fail when threads did it at once:
"AST constructor recursion depth mismatch"."""


def read(path: Path, file: BinaryIO, channels: int, max_pixels: int, mask: bool) -> Raster:
    """[h, w], [h, w, c] or [c, h, w], told apart by the channels."""
    if file.read(6) != b"\x93NUMPY":
        raise InputError(f"{path}: not a .npy file, whatever its name says")
    file.seek(0)
    first = npy.read_magic(file) == (1, 0)
    header = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
    with _ONE_AT_A_TIME:
        shape, by_columns, dtype = header(file)
    if dtype.hasobject:
        raise InputError(f"{path}: damaged, or not what its name says (it holds objects)")
    # The shape is known before the numbers are read.
    planes = arrange(np.broadcast_to(np.zeros((), dtype), shape), 3 if mask else channels, path)
    check_pixels(path, planes.shape[0], planes.shape[1], max_pixels)
    values = np.frombuffer(file.read(), dtype, math.prod(shape))
    values = values.reshape(shape, order="F" if by_columns else "C")
    return Raster(np.array(arrange(values, 3 if mask else channels, path)))

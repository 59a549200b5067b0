"""Reads .npy files: numpy's arrays of numbers, never of objects."""

from pathlib import Path

import numpy as np

from conceptseg.data.raster import Raster, arrange, check_pixels
from conceptseg.errors import InputError


def read(path: Path, channels: int, max_pixels: int, mask: bool) -> Raster:
    """[h, w], [h, w, c] or [c, h, w], told apart by the channels."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path}: not a .npy file, whatever its name says")
    # Mapped first, so that the shape is known before anything is read; objects are never loaded.
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    planes = arrange(mapped, 3 if mask else channels, path)
    check_pixels(path, planes.shape[0], planes.shape[1], max_pixels)
    return Raster(np.array(planes))

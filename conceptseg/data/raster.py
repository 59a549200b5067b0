"""Pixels as a file holds them, and the rules by which they are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from conceptseg.errors import InputError

MAX_PIXELS = 25_000_000
"""Pixels of an image, at most, unless a manifest says otherwise: 5000 x 5000, which take a network
some gigabytes, and this package about one."""


@dataclass(frozen=True)
class Rules:
    """How image files become [c, h, w] in [0, 1]; the keys of a manifest of the same names."""

    channels: int = 3
    alpha: Literal["refuse", "drop"] = "refuse"
    range: tuple[float, float] | None = None
    clip: bool = False
    max_pixels: int = MAX_PIXELS
    orientation: Literal["apply", "apply_to_masks", "ignore"] = "apply"
    nodata: Literal["file", "none"] | float = "file"


@dataclass(frozen=True)
class Raster:
    """A decoded file: values [h, w] or [h, w, c], as stored.

    `alpha`: the last channel is alpha. `white`: the value of white, where the type does not tell.
    `palette`: of indices, the colours that the file gives them, uint8 [n, 3].
    `orientation`: EXIF's, 1 to 8. `nodata`: the value that the file itself declares to be none.
    `lossy`: the compression that may have changed values, if one did.
    """

    values: np.ndarray
    alpha: bool = False
    white: float | None = None
    orientation: int = 1
    nodata: float | None = None
    lossy: str | None = None
    palette: np.ndarray | None = None


def most(kind: np.dtype[Any]) -> float:
    """The largest value of a type of pixels: what alpha is where nothing shines through."""
    if kind.kind == "f":
        return 1.0
    return 1 if kind.kind == "b" else int(np.iinfo(kind).max)


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """[h, w, ...] as stored -> as shown, by EXIF's orientation; others than 2 to 8 change nothing.

    Source: Exif 2.32, tag 0x0112: which edges of the picture are the 0th row and 0th column.
    """
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def stored(values: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of :func:`turned`: only the quarter turns are not their own."""
    return turned(values, {6: 8, 8: 6}.get(orientation, orientation))


def without_data(values: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """Where [h, w] or [h, w, c] holds no data: bool [h, w]; None where nothing is declared.

    A pixel has none if all its bands hold the value; if that is NaN or negative, if one does.
    """
    if nodata is None:
        return None
    found: np.ndarray
    if np.isnan(nodata):
        found = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    elif values.dtype.kind == "f":
        found = np.equal(values, values.dtype.type(nodata))
    else:
        found = np.equal(values, nodata)
    if found.ndim == 2:
        return found
    one = np.isnan(nodata) or nodata < 0
    return np.asarray(found.any(2) if one else found.all(2))


def check_pixels(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Refuses an image before its pixels are decoded, for a small file can hold a huge one."""
    if height * width > max_pixels:
        raise InputError(
            f"{path}: {height} x {width} pixels is more than max_pixels ({max_pixels}); cut it "
            "into tiles, or raise max_pixels in the manifest if the file can be trusted"
        )


def arrange(values: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """[h, w], [h, w, c] or [c, h, w] -> [h, w] or [h, w, c], told apart by the channels."""
    if values.ndim == 2:
        return values
    if values.ndim == 3:
        first, last = values.shape[0], values.shape[2]
        fits = [end == channels for end in (first, last)]
        if not any(fits):
            fits = [end == 1 for end in (first, last)]
        if all(fits) and first > 1:
            raise InputError(
                f"{path}: shape {values.shape} may be [c, h, w] or [h, w, c]; save it otherwise"
            )
        if any(fits):
            return values if fits[1] else np.moveaxis(values, 0, 2)
    raise InputError(
        f"{path}: shape {values.shape}; expected [h, w], [h, w, {channels}] or [{channels}, h, w]"
    )

"""Pixels as a file holds them, and the rules by which they are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from conceptseg.errors import InputError

MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Rules:
    """How image files become [c, h, w] in [0, 1]; the keys of a manifest of the same names."""

    channels: int = 3
    alpha: Literal["refuse", "drop"] = "refuse"
    range: tuple[float, float] | None = None
    clip: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Raster:
    """A decoded file: values [h, w] or [h, w, c]; whether the last channel is alpha."""

    values: np.ndarray
    alpha: bool = False


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

"""Grey textures the planted scenes are filled with: photographs of scikit-image, and formulas.

Every texture is a square of `SIZE` x `SIZE` numbers `z` of mean 0 and spread 1 (photographs
and noise) or of values in {-1, 0, 1} (the exact patterns of the constructed scenes). A scene
turns `z` into grey by `mean + contrast * z`, so textures differ in structure only: mean
brightness and spread say nothing about which one is shown.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

SIZE = 256
TILE = 64  # side of a crop, equal to the side of a scene

# The photographs lie in the scikit-image wheel; nothing here is ever downloaded.
PHOTOGRAPHS = ("brick", "grass", "gravel")
GROUNDS = ("grass", "gravel", "waves", "checks", "dots", "clouds")
INKS = ("flat", "paper", "hatch", "grain")
CONSTRUCTED_GROUNDS = ("flat", "rows", "blocks", "diagonals")

# Top-left corners a crop may have, as half-open (row, column) ranges. The 64 px crops of
# two splits never share a pixel of a photograph: train is left of column 160, validation and
# test are right of it, above and below row 128.
CROPS = {
    "train": ((0, SIZE - TILE), (0, 160 - TILE)),
    "val": ((0, 128 - TILE), (160, SIZE - TILE)),
    "test": ((128, SIZE - TILE), (160, SIZE - TILE)),
}


def _standardised(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Centre, divide by the standard deviation, clip at 2 standard deviations."""
    z = (values - values.mean()) / values.std()
    return np.clip(z, -2.0, 2.0).astype(np.float32)


def _photograph(name: str) -> NDArray[np.float32]:
    """A bundled 512 px photograph at half size, without its slow changes of light.

    Half size brings a brick to about 40 x 13 px, so that a tile of 32 x 64 px shows several
    courses. Subtracting a wide blur keeps shading from telling photographs from formulas.
    """
    import skimage.data
    from scipy.ndimage import gaussian_filter

    photo = np.asarray(getattr(skimage.data, name)(), dtype=np.float64) / 255.0
    half = photo.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
    return _standardised(half - gaussian_filter(half, 24.0, mode="reflect"))


def _noise(seed: int, inner: float, outer: float) -> NDArray[np.float32]:
    """Periodic Gaussian noise band-passed between two blurs (pixels); `inner` 0 keeps it raw."""
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(seed).standard_normal((SIZE, SIZE))
    sharp = gaussian_filter(white, inner, mode="wrap") if inner else white
    return _standardised(sharp - gaussian_filter(white, outer, mode="wrap"))


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    row, column = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    return row, column


def _waves() -> NDArray[np.float32]:
    """Oblique sine waves of period 64 / sqrt(8**2 + 6**2) = 6.4 px."""
    row, column = _grid()
    return _standardised(np.sin(2 * np.pi * (8 * row + 6 * column) / 64))


def _checks() -> NDArray[np.float32]:
    """A chess board of 4 px squares."""
    row, column = _grid()
    return _standardised(np.where((row // 4 + column // 4) % 2 == 0, 1.0, -1.0))


def _dots() -> NDArray[np.float32]:
    """Bright discs of radius 2.4 px, 8 px apart, each second row shifted by half."""
    row, column = _grid()
    shifted = column + 4 * ((row // 8) % 2)
    radius = np.hypot(row % 8 - 3.5, shifted % 8 - 3.5)
    return _standardised((radius < 2.4).astype(np.float64))


def _hatch() -> NDArray[np.float32]:
    """Diagonal lines of period 5 px (along the row)."""
    row, column = _grid()
    return _standardised(np.sin(2 * np.pi * (row + column) / 5))


def _exact(wave: Callable[[NDArray, NDArray], NDArray]) -> NDArray[np.float32]:
    """An integer pattern: values in {-1, 0, 1}, kept as they are so that sums are exact."""
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    return wave(row, column).astype(np.float32)


_COSINE = np.array([1, 0, -1, 0])  # cos(pi t / 2) at whole t: one period of four pixels

_MAKERS: dict[str, Callable[[], NDArray[np.float32]]] = {
    **{name: partial(_photograph, name) for name in PHOTOGRAPHS},
    "waves": _waves,
    "checks": _checks,
    "dots": _dots,
    "clouds": lambda: _noise(11, 3.0, 12.0),
    "flat": lambda: np.zeros((SIZE, SIZE), np.float32),
    "paper": lambda: _noise(12, 1.0, 4.0),
    "grain": lambda: _noise(13, 0.0, 2.0),
    "hatch": _hatch,
    "stripes": lambda: _exact(lambda row, column: _COSINE[column % 4]),
    "rows": lambda: _exact(lambda row, column: _COSINE[row % 4]),
    "diagonals": lambda: _exact(lambda row, column: _COSINE[(row + column) % 4]),
    "blocks": lambda: _exact(lambda row, column: 1 - 2 * ((row // 2 + column // 2) % 2)),
}
NAMES = tuple(_MAKERS)


@cache
def texture(name: str) -> NDArray[np.float32]:
    """The texture `name`, [256, 256], read-only, the same bits at every call.

    Raises:
        ValueError: `name` is not one of `NAMES`.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown texture {name!r}; known: {', '.join(NAMES)}")
    values = _MAKERS[name]()
    values.setflags(write=False)
    return values

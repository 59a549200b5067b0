"""Glyphs: scikit-learn's 8 x 8 handwritten digits, split, enlarged and cut to ink."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

GLYPH = 32  # pixels: 8 x 8 cells enlarged four times
INK_THRESHOLD = 6.5  # of 16 levels; low, so that strokes are thick


@cache
def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return bundle.images, bundle.target


@cache
def glyph_rows(split: str, digit: int) -> tuple[int, ...]:
    """Rows of scikit-learn's digits that `split` may draw `digit` from.

    Of every 20 consecutive rows of a digit 13 are for training, 2 for validation, 5 for test.
    """
    rows = np.flatnonzero(_digits()[1] == digit)
    place = np.arange(len(rows)) % 20
    of = {"train": place < 13, "val": (place >= 13) & (place < 15), "test": place >= 15}
    return tuple(int(row) for row in rows[of[split]])


@cache
def glyph_mask(row: int) -> NDArray[np.bool_]:
    """The ink of glyph `row`, boolean [32, 32]: cubic enlargement by four, then a threshold."""
    from scipy.ndimage import zoom

    large = zoom(_digits()[0][row], GLYPH / 8, order=3, mode="grid-constant", grid_mode=True)
    mask = large > INK_THRESHOLD
    mask.setflags(write=False)
    return mask

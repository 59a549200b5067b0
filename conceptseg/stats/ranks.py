"""Rank statistics."""

import numpy as np
from numpy.typing import ArrayLike


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counted half (Mann-Whitney).

    Returns nan when either side is empty, or any score is nan.
    """
    positive = np.asarray(positive, dtype=np.float64)
    negative = np.sort(np.asarray(negative, dtype=np.float64))
    if not positive.size or not negative.size:
        return float("nan")
    if np.isnan(negative[-1]) or np.isnan(positive).any():  # which are last in order
        return float("nan")
    below = np.searchsorted(negative, positive, "left").sum()
    above = below + (np.searchsorted(negative, positive, "right").sum() - below) / 2
    return float(above / (positive.size * negative.size))


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Rank correlation, ties sharing their mean rank; nan where either is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(other)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")

"""Rank statistics."""

import numpy as np
from numpy.typing import ArrayLike


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counted half (Mann-Whitney).

    Returns nan when either side is empty.
    """
    from scipy.stats import rankdata

    positive = np.asarray(positive, dtype=np.float64)
    negative = np.asarray(negative, dtype=np.float64)
    if not positive.size or not negative.size:
        return float("nan")
    ranks = rankdata(np.concatenate([positive, negative]))[: positive.size].sum()
    above = ranks - positive.size * (positive.size + 1) / 2
    return float(above / (positive.size * negative.size))


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Rank correlation, ties sharing their mean rank; nan where either is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(other)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")

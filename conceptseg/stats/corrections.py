"""Corrections of p-values for the number of tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conceptseg.stats.intervals import ALPHA, Floats


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values [m]: controls the chance of any false claim."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = (p.size - np.arange(p.size)) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def attainable(floors: ArrayLike, alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Which of m tests could pass a correction for all that could, given their least p-values [m].

    With k the smallest number such that no more than k of the floors are at most alpha / k, those
    at most alpha / k. Floors do not depend on what is observed, so the rest may be left out of the
    family.

    Source: Tarone 1990, "A modified Bonferroni method for discrete data", Biometrics 46.
    """
    floors = np.asarray(floors, dtype=np.float64)
    for k in range(1, floors.size + 1):
        able = floors <= alpha / k
        if able.sum() <= k:
            return np.asarray(able)
    return np.zeros(floors.size, dtype=bool)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini & Hochberg's adjusted p-values [m]: controls the share of false claims."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = p[order] * p.size / (1 + np.arange(p.size))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(steps[::-1])[::-1])
    return adjusted


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """Benjamini & Yekutieli's adjusted p-values [m]: controls the share of false claims, whatever
    the tests have to do with each other."""
    p = np.asarray(p, dtype=np.float64)
    return np.minimum(1.0, benjamini_hochberg(p) * float(np.sum(1 / (1 + np.arange(p.size)))))

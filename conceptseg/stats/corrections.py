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


def max_statistic_p(observed: ArrayLike, null: ArrayLike) -> Floats:
    """Adjusted p-values [m] of m tests by the largest statistic: controls any false claim.

    `null` [m, r] holds r joint draws of the m statistics under the hypothesis that none has an
    effect. Each statistic is taken in units of its null's root mean square, in absolute terms;
    p_j = (1 + #{draws whose largest is at least the j-th observed}) / (1 + r). As small as
    1/(1 + r) however many tests there are, where Holm's are at least m/(1 + r).

    Source: Westfall & Young 1993, section 2.3 (single-step maxT).
    """
    observed = np.abs(np.asarray(observed, dtype=np.float64))
    null = np.abs(np.asarray(null, dtype=np.float64))
    scale = np.sqrt((null**2).mean(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where the null does not vary, any effect at all is beyond it; none is none.
        standard = np.nan_to_num(observed / scale, nan=0.0, posinf=np.inf)
        largest = np.nan_to_num(null / scale[:, None], nan=0.0).max(0)
    return (1 + (largest >= standard[:, None]).sum(1)) / (1 + null.shape[1])

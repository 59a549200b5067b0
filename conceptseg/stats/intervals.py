"""Intervals over images or their groups, and the effects that so many could show."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


ALPHA = 0.05
"""Corrected p-values up to this count as evidence, in every study."""


MIN_GROUPS = 8
"""Fewer groups than this and a sign-flip test cannot reach 0.05 after any correction."""


FEWEST = 5
"""Of fewer images or groups no interval is told: draws of so few hardly vary, so it is too short
(of 4, a nominal 95 % covers about 80 %)."""


UNSEEN = 0.5
"""What :func:`bounded_interval` adds at either bound, in values: half of one, as Jeffreys' interval
of a share does. With one the interval never covers less than it says, and often 99 %."""


def units(
    ids: Sequence[str], groups: Sequence[str], unit: Literal["auto", "group", "image"]
) -> tuple[tuple[str, ...], str]:
    """What each image counts as in intervals and tests, and which unit was taken.

    "auto" takes groups where there are at least `MIN_GROUPS`, else single images; a report has to
    say so, since intervals over images then speak of these few groups alone.
    """
    if unit == "auto":
        unit = "group" if len(set(groups)) >= MIN_GROUPS else "image"
    return tuple(groups if unit == "group" else ids), unit


def group_means(values: ArrayLike, groups: Sequence[str]) -> Floats:
    """Mean of `values` [n] in each group, in the order of the groups' sorted names, [g]."""
    values = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(index, weights=values) / np.bincount(index)


def finite_mean(values: Floats, axis: int) -> Floats:
    """Mean over an axis of what is finite; nan where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis)
    return np.where(known.any(axis), total / np.maximum(known.sum(axis), 1), np.nan)


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[str],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
    weights: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean of `values` [n] by a bootstrap that draws whole groups.

    The mean is that over values, not over groups, so that a group of many images keeps its weight;
    with `weights` [n] it is sum w v / sum w of what is drawn. With a single group there is nothing
    to draw from: (nan, nan); so it is where no draw has any weight. The percentiles are those of
    :func:`tail`.

    Source: Davison & Hinkley 1997, section 3.8 (strategy 1).
    """
    values = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    heavy = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = np.bincount(index, weights=heavy)
    if len(counts) < 2 or not counts.any():
        return float("nan"), float("nan")
    sums = np.bincount(index, weights=heavy * values)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(counts), size=(draws, len(counts)))
    total = counts[drawn].sum(1)
    means = sums[drawn].sum(1)[total > 0] / total[total > 0]
    each = tail(len(counts), level)
    low, high = np.quantile(means, [each, 1 - each])
    return float(low), float(high)


def tail(n: int, level: float = 0.95) -> float:
    """The share of a bootstrap's draws beyond each end of an interval, for n groups.

    Phi(-sqrt(n / (n - 1)) t), t the quantile of Student's distribution with n - 1 degrees of
    freedom at (1 + level) / 2: draws of n values vary by sqrt((n - 1) / n) too little, and by
    normal quantiles where the spread was estimated. Of 12 normal values the plain percentiles,
    (1 - level) / 2, cover 91 % where 95 % is said, these 95 %.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3 (the
    expanded percentile interval), The American Statistician 69.
    """
    from scipy.special import ndtr, stdtrit

    if n < 2:
        return (1 - level) / 2
    return float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)))


def bounded_interval(
    sums: ArrayLike,
    sizes: ArrayLike,
    bounds: tuple[float, float],
    *,
    seed: int | tuple[int, ...],
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a mean that holds where nearly all values are alike and a rare one is not.

    A set of 20 in which one value in twenty differs lacks that one in a third of all cases, and
    what is drawn from it never differs. Where values can lie between two `bounds` alone, the draws
    for the lower end take `UNSEEN` values more at the lower bound, those for the upper end at the
    upper: w_0, w_1, ..., w_g of Gamma(UNSEEN), Gamma(1), ..., Gamma(1) weigh the bound and the
    groups, whose `sums` [g] of so many values (`sizes` [g]) are added up.

    Source: Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the
    mean of a nonnegative variable" (one value at the bound: for shares the interval of Clopper and
    Pearson); Learned-Miller & Thomas 2019, arXiv:1905.06208.
    """
    sums, sizes = np.asarray(sums, np.float64), np.asarray(sizes, np.float64)
    if len(sums) < 2 or not sizes.any():
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    weights = rng.standard_gamma(1.0, (draws, len(sums)))
    unseen = rng.standard_gamma(UNSEEN, draws) * sizes.mean()
    total, whole = weights @ sums, weights @ sizes + unseen
    each = (1 - level) / 2
    low, high = (
        np.quantile((total + unseen * bound) / whole, share)
        for bound, share in zip(bounds, (each, 1 - each), strict=True)
    )
    return float(low), float(high)


def wilson_interval(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share of n independent cases: where |share - p| <= z sqrt(p (1 - p) / n).

    Source: Wilson 1927.
    """
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)

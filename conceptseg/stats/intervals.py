"""Intervals over images or their groups, and the effects that so many could show."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


ALPHA = 0.05
"""Corrected p-values up to this count as evidence, in every study."""


MIN_GROUPS = 8
"""Of fewer groups than this hardly a test reaches 0.05 once it is corrected: by sign flips of eight
the least p is 2 / 256, and of six questions 0.047."""


FEWEST = 5
"""Of fewer images or groups no interval is told: draws of so few hardly vary, so it is too short
(of 4, a nominal 95 % covers about 80 %)."""


PORTIONS = (0.0, 1.0)
GAPS = (-1.0, 1.0)
"""Between what shares lie, and the differences of two."""


def units(
    ids: Sequence[str],
    groups: Sequence[str],
    unit: Literal["auto", "group", "image"],
    fewest: int = MIN_GROUPS,
) -> tuple[tuple[str, ...], str]:
    """What each image counts as in intervals and tests, and which unit was taken.

    "auto" takes groups where there are at least `fewest`, else single images; a report has to
    say so, since intervals over images then speak of these few groups alone.
    """
    if unit == "auto":
        unit = "group" if len(set(groups)) >= fewest else "image"
    return tuple(groups if unit == "group" else ids), unit


def divided(parts: Floats, wholes: Floats) -> Floats:
    """Quotients [m]; nan where the whole is 0."""
    return np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes != 0)


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


def tail(n: float, level: float = 0.95) -> float:
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


def among(value: float, low: float, high: float, n: int, count: int) -> tuple[float, float]:
    """Ends of a 95 % interval of n groups, as one of `count` that are looked through together.

    Both sides grow by t(1 - 0.025 / count) / t(0.975), quantiles of Student's distribution with
    n - 1 degrees of freedom: what :func:`tail` makes of that level where draws are normal. So all
    `count` hold at once with 95 %, whatever they have to do with each other (Bonferroni).
    """
    from scipy.special import stdtrit

    off = (1 - 0.95) / 2
    grown = float(stdtrit(max(n - 1, 1), 1 - off / count) / stdtrit(max(n - 1, 1), 1 - off))
    return value - grown * (value - low), value + grown * (high - value)


def wilson_interval(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share of n independent cases: where |share - p| <= z sqrt(p (1 - p) / n).

    Source: Wilson 1927.
    """
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    # Without rounding: of a share of 0 it begins at 0, of 1 it ends there.
    return max(0.0, centre - half) if share else 0.0, min(1.0, centre + half) if share < 1 else 1.0


def effective_number(parts: ArrayLike) -> float:
    """Kish's: as many of equal size would tell as much as parts [n] of a sum do; 0 of no sum.

    (sum p)^2 / sum p^2. Source: Kish 1965, "Survey Sampling".
    """
    parts = np.asarray(parts, np.float64)
    total = float((parts**2).sum())
    return float(parts.sum()) ** 2 / total if total else 0.0


def unseen_share(n: int, level: float = 0.95) -> float:
    """The share of cases of some kind that there may be where none of n was of it.

    Upper end of Jeffreys' interval of a share of which 0 of n were seen: 0.12 of 20.

    Source: Brown, Cai & DasGupta 2001, "Interval Estimation for a Binomial Proportion".
    """
    from scipy.special import betaincinv

    return float(betaincinv(0.5, n + 0.5, (1 + level) / 2))


def skewed_interval(
    sums: Floats,
    sizes: Floats,
    within: tuple[float, float] | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of sum(sums) / sum(sizes >= 0) over groups [g], longer on the side of its long tail.

    Student's by Hall's transformation, T its statistic and c a third of the skewness of the sum::

        g(T) = T + c T^2 + c^2 T^3 / 3 + c / 2

    Of few values with a long tail most sets hold none from far out there: their mean is off to the
    other side, and their spread too small as well. Degrees of freedom are the effective number of
    groups less one. No end lies beyond what values can be, `within`; where that is not known, none
    beyond all groups' own quotients, which is too short for 5 or 6 groups. (nan, nan) of fewer
    than two.

    Source: Hall 1992, "On the removal of skewness by transformation", Journal of the Royal
    Statistical Society B 54.
    """
    from scipy.special import stdtrit

    groups, known = len(sums), sizes > 0
    if groups < 2 or not known.any():
        return float("nan"), float("nan")
    mean = float(sums.sum() / sizes.sum())
    # Of a ratio of sums over groups, by its linear part.
    off = sums - mean * sizes
    squares = float((off**2).sum())
    third = float((off**3).sum()) / squares**1.5 / 3 if squares else 0.0
    error = np.sqrt(groups / (groups - 1) * squares) / sizes.sum()
    t = float(stdtrit(max(effective_number(sizes), 2.0) - 1, (1 + level) / 2))

    def statistic(y: float) -> float:
        return float(np.cbrt(1 + 3 * third * (y - third / 2)) - 1) / third if third else y

    means = sums[known] / sizes[known]
    least, most = within or (float(means.min()), float(means.max()))
    return max(mean - error * statistic(t), least), min(mean - error * statistic(-t), most)


def mostly_alike(values: ArrayLike) -> bool:
    """Whether half of the finite values [m] or more are one and the same, or there are none."""
    values = np.asarray(values, np.float64)
    # Sums of the same numbers in another order differ in the last bits.
    counts = np.unique(np.round(values[np.isfinite(values)], 9), return_counts=True)[1]
    return not len(counts) or bool(2 * counts.max() >= counts.sum())


def bounded_interval(
    values: ArrayLike,
    place: ArrayLike,
    low: float,
    high: float,
    level: float = 0.95,
    weights: ArrayLike | None = None,
) -> tuple[float, float]:
    """Interval of the mean of `values` [m] that holds where most are near an end of their range.

    `place` [m] numbers the groups that count, g of them; the mean is by `weights` [m] (above 0) if
    given. It is Student's interval of the mean over
    values, and at least as wide as of what no group was like there may be: a share
    :func:`unseen_share` of groups whose mean is `low`, which bounds it too, or as many at `high`
    (or at the least and largest mean of a group, where that lies beyond). Where 19 of 20 images
    lose all of their IoU and one nothing, a bootstrap of 20 images that do not hold such a one
    hardly ever covers the mean, as no interval does that is made of their spread alone. It covers
    95 % of normal values and up to all of such as these (94 % in the worst case simulated).
    (nan, nan) of fewer than two groups.
    """
    from scipy.special import stdtrit

    values, place = np.asarray(values, np.float64), np.asarray(place)
    heavy = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    sizes = np.bincount(place, heavy) if len(place) else np.zeros(0)
    groups = len(sizes)
    if groups < 2:
        return float("nan"), float("nan")
    sums = np.bincount(place, heavy * values)
    mean = float(sums.sum() / sizes.sum())
    # Of a ratio of sums over groups, by its linear part.
    off = sums - mean * sizes
    error = np.sqrt(groups / (groups - 1) * (off**2).sum()) / sizes.sum()
    half = float(stdtrit(groups - 1, (1 + level) / 2) * error)
    share, means = unseen_share(groups, level), sums / sizes
    least, most = min(low, float(means.min())), max(high, float(means.max()))
    lower = min(mean - half, mean - share * (mean - least))
    upper = max(mean + half, mean + share * (most - mean))
    return max(lower, least), min(upper, most)

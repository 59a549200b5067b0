"""How sure a number is: intervals, exchangeable tests and corrections for many tests.

The unit is the image, or its group (patient, scene) where the manifest names one; never the pixel
or the segment, which are not independent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from conceptseg.stats.intervals import ALPHA, Floats

FINE = 5e-4
"""P-values up to this are estimated again with draws enough for a correction."""
Side = Literal["two", "less", "greater"]


def sign_flip_ps(
    sums: ArrayLike, *, seed: int, draws: int = 9999, side: Side = "two", tests: int = 1
) -> Floats:
    """P-values [m] of "the mean is zero" by flipping the signs of groups; the draws are shared.

    `sums` [m, g] are the values of each test summed over each group. Exact under the hypothesis
    that each group's effect is symmetric about zero: p = (1 + #{null at least as extreme}) /
    (1 + draws). All sign patterns are used in place of draws where there are no more than `draws`
    of them. As it cannot fall below 1 / (1 + draws), a small one among many `tests` is drawn again,
    40 times as often as there are tests.
    """
    sums = np.asarray(sums, dtype=np.float64)
    p = _flipped(sums, seed, draws, side)
    fine = p <= FINE
    if fine.any() and 40 * tests > draws:
        p[fine] = _flipped(sums[fine], seed, 40 * tests, side)
    return p


def _flipped(sums: Floats, seed: int, draws: int, side: Side) -> Floats:
    """P-values [m] of sums over groups [m, g]."""
    size = np.abs if side == "two" else np.negative if side == "less" else np.positive
    # Sums of the same numbers in another order differ in the last bits: ties must count.
    observed = size(sums.sum(1)) - 1e-12 * np.abs(sums).sum(1)
    extreme, count = np.zeros(len(sums)), 0
    for signs in _sign_patterns(sums.shape[1], seed, draws):
        extreme += (size(signs @ sums.T) >= observed).sum(0)
        count += len(signs)
    exact = 2 ** sums.shape[1] <= draws
    return extreme / count if exact else (1 + extreme) / (1 + count)


@dataclass(frozen=True)
class JointFlips:
    """What :func:`joint_flips` says of m tests: each array is [m].

    `p` for each by itself, `adjusted` for all together, `least` the smallest adjusted value that
    groups like a test's could give, were the test the strongest; `reach` the standardised mean,
    mean / sd over its groups, from which a test is found at the level that was asked for (inf where
    it cannot be).
    """

    p: Floats
    adjusted: Floats
    least: Floats
    reach: Floats


def joint_flips(
    sums: ArrayLike,
    *,
    seed: int,
    draws: int = 9999,
    alpha: float = ALPHA,
    side: Side = "greater",
) -> JointFlips:
    """Tests of "no mean is above zero" that flip the signs of whole groups, for all tests at once.

    `sums` [m, g] are the values of each test summed over each group, 0 where a group has none; for
    `side` "two" they count by their size, for "less" with the other sign. The statistic is
    T = sum_g s_g / sqrt(sum_g s_g^2), which no flip moves but by its numerator and which is
    sqrt(groups) at most, so a test of few groups raises the bar for others little. Holds under the
    hypothesis that the groups' effects are symmetric about zero, all tests' jointly; as signs are
    flipped together, what tests share is not paid for twice: with 8 groups, where a correction of
    single p-values (1/256 at least) for 20 tests finds nothing, this can.

    Source: Westfall & Young 1993, algorithm 2.8 (free step-down maxT).
    """
    sums = np.asarray(sums, dtype=np.float64)
    scale = np.sqrt((sums**2).sum(1))
    unit = sums / np.where(scale > 0, scale, 1.0)[:, None]
    if side == "less":
        unit = -unit
    size = np.abs if side == "two" else np.positive
    observed = size(unit.sum(1))
    order = np.argsort(-observed, kind="stable")
    alone, stepped, largest = np.zeros(len(sums)), np.zeros(len(sums)), []
    for signs in _sign_patterns(sums.shape[1], seed, draws):
        null = size(signs @ unit.T)
        # Sums of the same numbers in another order differ in the last bits: ties must count.
        alone += (null >= observed - 1e-9).sum(0)
        left = np.maximum.accumulate(null[:, order[::-1]], axis=1)[:, ::-1]
        stepped += (left >= observed[order] - 1e-9).sum(0)
        largest.append(left[:, 0])
    bars = np.sort(np.concatenate(largest))
    exact = 2 ** sums.shape[1] <= draws
    more, count = (0, len(bars)) if exact else (1, 1 + len(bars))
    adjusted = np.empty(len(sums))
    adjusted[order] = np.maximum.accumulate((more + stepped) / count)
    groups = (sums != 0).sum(1)
    above = np.maximum(len(bars) - np.searchsorted(bars, np.sqrt(groups) - 1e-9), 1 - more)
    # The largest statistics that may lie at or above the bar are so many; what ties with it fails.
    bar = bars[-int(alpha * count) - 1 + more] + 1e-9 if alpha * count >= 1 else np.inf
    floor = np.minimum(1.0, (2.0 if side == "two" else 1.0) * 0.5**groups)
    least = np.maximum((more + above) / count, floor)
    room = np.where(least <= alpha, groups - bar**2, 0.0)
    reach = np.where(room > 0, bar / np.sqrt(np.maximum(room, 1e-12)), np.inf)
    return JointFlips((more + alone) / count, adjusted, least, reach)


def _sign_patterns(groups: int, seed: int, draws: int) -> Iterator[Floats]:
    """Signs [d, g] in blocks: all patterns where there are no more than `draws`, else so many."""
    exact = 2**groups <= draws
    count = 2**groups if exact else draws
    rng = np.random.default_rng(seed)
    for start in range(0, count, 2048):
        rows = np.arange(start, min(start + 2048, count))
        if exact:
            flipped = (rows[:, None] >> np.arange(groups)) & 1
        else:
            flipped = rng.integers(0, 2, size=(len(rows), groups))
        yield 1.0 - 2.0 * flipped.astype(np.float64)


def sign_flip_floor(groups: int, side: Side = "two") -> float:
    """The least p-value that flipping the signs of so many groups can give."""
    return float(min(1.0, (2.0 if side == "two" else 1.0) * 0.5**groups))


def exchangeable_p(observed: float, null: ArrayLike) -> float:
    """P-value of `observed` among exchangeable draws `null` [r]: (1 + #{null >= observed})/(r + 1).

    An observation that is not a number is no evidence: 1. A draw that is none may be anything, so
    it counts as at least as large.

    Source: Phipson & Smyth 2010, "Permutation p-values should never be zero".
    """
    null = np.asarray(null, dtype=np.float64)
    if np.isnan(observed):
        return 1.0
    return float(1 + (~(null < observed)).sum()) / (1 + null.size)


FEWEST_DRAWS = 999
"""Of fewer the tail is not known: of 100 draws 0.0001 came up four times too often."""
LARGER = 10
"""With fewer draws than this as large as what was observed, their share is no measure of it."""
MOST = 150
"""Of the largest draws, so many show the tail at most; further in it is another law."""
REACH = 0.01
"""Beyond the draws, a tail is trusted down to this part of the smallest share of them."""


def tail_p(observed: float, null: ArrayLike) -> float:
    """P-value of `observed` among draws `null` [r] of a statistic that is a sum of many parts.

    The share of draws as large, as by :func:`exchangeable_p`, where at least `LARGER` are, or of
    fewer than `FEWEST_DRAWS` in all. Else the tail of a generalised Pareto law, fitted to how far
    the largest tenth of them (at most `MOST`) lie above the rest, no lighter than the exponential;
    never below `tail_floor`. Corrections of many tests need p-values that a share could show by
    tens of thousands of draws only. (With tails as heavy as Student's of three degrees of freedom,
    which no mean of many parts has, 0.0001 comes up three times too often by 999 draws, and 1.5
    times by 4999.)

    Source: Knijnenburg et al. 2009, "Fewer permutations, more accurate P-values"; Grimshaw 1993
    for the fit.
    """
    null = np.asarray(null, dtype=np.float64)
    share = exchangeable_p(observed, null)
    if share * (null.size + 1) > LARGER or null.size < FEWEST_DRAWS or not np.isfinite(null).all():
        return share
    above = min(null.size // 10, MOST)
    ordered = np.sort(null)
    excess = ordered[-above:] - ordered[-above - 1]
    mean, far = float(excess.mean()), observed - ordered[-above - 1]
    if not (mean > 0 and np.isfinite(far)):
        return share
    # The likelihood for each ratio of shape to scale; 0 is the exponential law.
    ratios = np.geomspace(1e-3, 1e2, 60) / mean
    shapes = np.log1p(ratios[:, None] * excess).mean(1)
    losses = np.log(shapes / ratios) + shapes
    best = int(losses.argmin())
    if losses[best] < np.log(mean) + 1:
        beyond = (1 + ratios[best] * far) ** (-1 / shapes[best])
    else:  # one more draw of a law whose mean was taken from so many
        beyond = (1 + far / (above * mean)) ** -float(above)
    return float(max((above + 1) / (null.size + 1) * beyond, tail_floor(null.size)))


def tail_floor(draws: int) -> float:
    """The least p-value that :func:`tail_p` gives of so many draws."""
    return (REACH if draws >= FEWEST_DRAWS else 1.0) / (1 + draws)


def draws_for(tests: int, level: float = ALPHA) -> int:
    """The fewest draws of which :func:`tail_p` can pass Bonferroni's correction of some tests."""
    draws = int(np.ceil(tests / level - 1e-9)) - 1
    if draws < FEWEST_DRAWS:
        return draws
    return max(FEWEST_DRAWS, int(np.ceil(REACH * tests / level - 1e-9)) - 1)


def prediction_p(observed: float, null: ArrayLike) -> float:
    """P-value, one-sided to the left, of `observed` as one more draw from where `null` [r] is from.

    t = (observed - mean) / (sd sqrt(1 + 1/r)), with r - 1 degrees of freedom: exact for normal
    draws, and of use with the few that are affordable. 1 for fewer than two draws.
    """
    from scipy.special import stdtr

    null = np.asarray(null, dtype=np.float64)
    if null.size < 2 or np.isnan(observed):
        return 1.0
    spread = float(null.std(ddof=1) * np.sqrt(1 + 1 / null.size))
    distance = observed - float(null.mean())
    if spread == 0:
        return 0.5 if distance == 0 else float(distance > 0)
    return float(stdtr(null.size - 1, distance / spread))


def detectable_draw(null: ArrayLike, level: float) -> float:
    """How far beyond the mean of draws `null` [r] :func:`prediction_p` finds with power 0.8.

    (t_{1-level, r-1} + z_{0.8}) sd sqrt(1 + 1/r); nan for fewer than two draws.
    """
    from scipy.special import ndtri, stdtrit

    null = np.asarray(null, dtype=np.float64)
    if null.size < 2:
        return float("nan")
    reach = stdtrit(null.size - 1, 1 - level) + ndtri(0.8)
    return float(reach * null.std(ddof=1) * np.sqrt(1 + 1 / null.size))


def cost_p(cost: float, costs: ArrayLike) -> float:
    """P-value of `cost` as one more draw from where `costs` [r] are from, which may be skewed.

    r / (r + 1) (1 + (cost - least) / S)^-(r - 1), `least` the smallest of the draws and S the sum
    of how far they lie above it: exact for costs that are exponential from any value on. What
    random edits of trained networks cost is as skewed: most next to nothing, some much. At
    0.05 it holds for them (4 to 7 % of them, by network); far below it does not: one in a hundred
    was beyond 0.0005 among twenty others. 1 for fewer than two draws.

    Source: S is independent of the least draw, and what exceeds that has no memory (Arnold,
    Balakrishnan & Nagaraja 1992, "A First Course in Order Statistics", section 4.6).
    """
    costs = np.asarray(costs, dtype=np.float64)
    if costs.size < 2 or np.isnan(cost) or cost < (least := float(costs.min())):
        return 1.0
    above = float((costs - least).sum())
    if above == 0:
        return costs.size / (costs.size + 1) if cost == least else 0.0
    odds = (1 + (cost - least) / above) ** -(costs.size - 1.0)
    return float(costs.size / (costs.size + 1) * odds)


def detectable_cost(costs: ArrayLike, level: float) -> float:
    """The cost that :func:`cost_p` finds beyond draws like `costs` [r] with power 0.8.

    S is taken 0.8 quantile / mean larger than it is, by its gamma distribution: in one of five sets
    of draws it is larger still. nan for fewer than two draws.
    """
    from scipy.special import gammaincinv

    costs = np.asarray(costs, dtype=np.float64)
    if (r := costs.size) < 2:
        return float("nan")
    least, above = float(costs.min()), float((costs - costs.min()).sum())
    reach = (level * (r + 1) / r) ** (-1 / (r - 1)) - 1
    return float(least + above * gammaincinv(r - 1, 0.8) / (r - 1) * max(0.0, reach))


def smallest_p(groups: int, draws: int = 9999, side: str = "two") -> float:
    """The smallest p-value that :func:`sign_flip_ps` can give for this many groups."""
    if 2**groups <= draws:
        return min(1.0, (2 if side == "two" else 1) / 2**groups)
    return 1 / (1 + draws)

"""Tests that are judged together: what each gives, could have given, and could have shown.

The policy of correction is an argument of :func:`judge`::

    asked = [Question(loss, sampling.at(rows)) for loss, rows in ...]
    tests = judge(asked, side="less", seed=seed)                     # Holm, or joint flips
    tests = judge(asked, side="two", seed=seed, policy=few(by_bh))   # Benjamini-Hochberg, or these

A test of few groups has a smallest p-value, 2^-groups, whatever it finds. One that could not pass
after correction even so is not run: it is "not testable", and leaves the family to the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from conceptseg.stats.corrections import attainable, benjamini_hochberg, holm
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import ALPHA, Floats
from conceptseg.stats.p_values import Side, joint_flips, sign_flip_floor, sign_flip_ps, smallest_p

NAN = float("nan")


@dataclass(frozen=True)
class Test:
    """One test of a family; `p` by itself, `adjusted` for all together, nan if not testable.

    `floor` and `least` are the smallest values that the two could take with so many groups or
    draws; `detectable` the mean that passes the correction with power 0.8, nan where none would;
    `level` what the correction leaves to one test; `n` the number of what is flipped or drawn, `of`
    its name; `by` the correction; `needs` what would make a test testable that is not: "6 groups".
    """

    __test__ = False  # pytest is not to collect it

    p: float
    adjusted: float
    floor: float
    least: float
    detectable: float
    level: float
    n: int
    of: str
    by: str
    needs: str = ""

    @property
    def testable(self) -> bool:
        """Whether any effect, however large, could have passed."""
        return self.least <= ALPHA

    @property
    def passed(self) -> bool:
        return self.testable and self.adjusted <= ALPHA

    def capped(self, room: float) -> "Test":
        """The same test where no effect can be larger than `room` (there is no more to lose): an
        effect that would have to be is none that it would have detected."""
        return replace(self, detectable=NAN) if self.detectable > room else self


@dataclass(frozen=True)
class Question:
    """Is the mean of `values` [m] zero? `sampling` says what they count as; nan is left out."""

    values: Floats
    sampling: Sampling

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64)
        known = np.isfinite(values)
        object.__setattr__(self, "values", values[known])
        object.__setattr__(self, "sampling", self.sampling.at(known))


Also = Sequence[Sequence[Test]]
"""Further families, a test for each question: a claim needs its test in each of them as well."""
Policy = Callable[[Sequence[Question], Side, int, Also], list[Test]]
PATTERNS = 10
"""With fewer sign patterns within the level than this, it takes nearly all groups to agree: of 9
groups and 15 tests by Holm all have to, and what a test of normal values finds is missed."""
Correction = Callable[[ArrayLike], Floats]


def judge(
    questions: Sequence[Question],
    *,
    side: Side,
    seed: int,
    policy: Policy | None = None,
    also: Also = (),
) -> list[Test]:
    """Whether means are zero, by flipping the signs of whole groups, all questions corrected.

    `policy` is :func:`by_holm`, :func:`by_bh`, :func:`by_joint_flips`, or :func:`few` of one of the
    first two, which takes joint flips where groups are few; it is few(by_holm) if not given. With
    `also`, a claim says that several effects are there, and its p is the largest of theirs.

    Source: Berger 1982 for the claim of several effects (intersection-union test).
    """
    return (policy or few(by_holm))(questions, side, seed, also)


def by_holm(questions: Sequence[Question], side: Side, seed: int, also: Also = ()) -> list[Test]:
    """Holm's correction over the questions that could pass it: any false claim in 5 % of families.

    Source: Tarone 1990 for leaving out the others (:func:`attainable`).
    """
    floors = _floors(questions, side, also)
    able = attainable(floors)
    # Of those left out, what Holm over all questions would ask.
    least = np.where(able, able.sum(), len(able)) * floors
    return _singly(questions, side, seed, also, least, holm)


def by_bh(questions: Sequence[Question], side: Side, seed: int, also: Also = ()) -> list[Test]:
    """Benjamini & Hochberg's correction: of the claims, 5 % are false on average.

    `least` is what a test gives when all others, too, are as small as they can be.

    Source: Gilbert 2005 for leaving out those that could not pass even then.
    """
    least = benjamini_hochberg(_floors(questions, side, also))
    return _singly(questions, side, seed, also, least, benjamini_hochberg)


def by_joint_flips(
    questions: Sequence[Question], side: Side, seed: int, also: Also = (), share: float = 1.0
) -> list[Test]:
    """Signs flipped for all questions together: any false claim in 5 % of families.

    With `also`, adjusted p-values are the largest of all families', times their number: of the
    false claims, some lack this effect and some another, and each may have come up by chance. With
    `share`, only that part of the level is spent here, and p-values are corrected for it.

    Source: Westfall & Young 1993 (:func:`joint_flips`).
    """
    if not questions:
        return []
    parts = (1 + len(also)) / share
    names = sorted({group for one in questions for group in one.sampling.groups})
    sums = np.zeros((len(questions), len(names)))
    for row, one in zip(sums, questions, strict=True):
        row[np.searchsorted(names, sorted(set(one.sampling.groups)))] = one.sampling.sums(
            one.values
        )
    flips = joint_flips(sums, seed=seed, alpha=ALPHA / parts, side=side)
    p = _largest(flips.p, also, "p")
    adjusted = parts * _largest(flips.adjusted, also, "adjusted")
    least = parts * _largest(flips.least, also, "least")
    # `reach` is told of the groups that are not exactly 0, which flips leave as they are: so are
    # these parts, in units of the mean over all groups, of equal size.
    moved = [row[row != 0] for row in sums]
    parts_of = [
        row * len(row) / max(len(one.values), 1) for one, row in zip(questions, moved, strict=True)
    ]
    reach = [_detectable(m, NAN, r) for m, r in zip(parts_of, flips.reach.tolist(), strict=True)]
    floors, level = _floors(questions, side, also), ALPHA / parts / len(questions)
    tests = _made(questions, p, adjusted, floors, least, reach, level, "joint flips")
    return _told(questions, tests, side, also)


def few(policy: Policy) -> Policy:
    """`policy`, but :func:`by_joint_flips` where more questions can be judged well by those.

    A question is judged well by itself if the level that correction leaves it holds `PATTERNS` sign
    patterns of its groups. The choice looks at numbers of groups and at the sizes of effects, never
    at their signs, which are what is tested: so the level is kept.
    """

    def chosen(questions: Sequence[Question], side: Side, seed: int, also: Also) -> list[Test]:
        own = np.array([sign_flip_floor(one.sampling.n, side) for one in questions])
        well = attainable(_largest(PATTERNS * own, also, "floor"))
        if not well.all():
            joint = by_joint_flips(questions, side, seed, also)
            if sum(test.testable for test in joint) > well.sum():
                return joint
        return policy(questions, side, seed, also)

    return chosen


def given(
    p: ArrayLike,
    floors: ArrayLike,
    correction: Correction = holm,
    *,
    n: int,
    of: str,
    needs: str = "",
) -> list[Test]:
    """Tests made elsewhere, by their p [m] and the smallest that each could be ([m] or one).

    All count in the correction. nan is no evidence: p of 1.
    """
    p = np.nan_to_num(np.asarray(p, np.float64), nan=1.0)
    floor = np.broadcast_to(np.asarray(floors, np.float64), p.shape)
    adjusted, level = correction(p), ALPHA / max(1, p.size)
    # By Holm the strongest passes alone; by Benjamini & Hochberg it may take all together.
    least = np.minimum(1.0, p.size * floor) if correction is holm else correction(floor)
    rows = zip(p.tolist(), adjusted.tolist(), floor.tolist(), least.tolist(), strict=True)
    return [Test(*row, NAN, level, n, of, correction.__name__, needs) for row in rows]


def fewest(side: Side, families: int = 1) -> int:
    """The least number of groups with which some effect passes a family, however many tests it has.

    By joint flips, of a claim that needs its test in so many `families`. 6 for "less" and three.
    """
    groups = 1
    while families * sign_flip_floor(groups, side) > ALPHA:
        groups += 1
    return groups


def _needs(one: Question, side: Side, partners: Sequence[Test]) -> str:
    """What would make a question testable that is not, in words."""
    least, families = fewest(side, 1 + len(partners)), 1 + len(partners)
    if one.sampling.n < least:
        return f"{least} {one.sampling.of}"
    for test in partners:
        if families * test.least > ALPHA:  # the smallest p is of one more than there are
            draws = int(np.ceil((1 + test.n) * families * test.least / ALPHA - 1e-9)) - 1
            return test.needs or f"{draws} {test.of}"
    return f"more than {one.sampling.n} {one.sampling.of}"


def _floors(questions: Sequence[Question], side: Side, also: Also) -> Floats:
    """The smallest p that each question could give, [m]."""
    draws = max(9999, 40 * len(questions))  # as many as sign_flip_ps takes for so many tests
    own = np.array([smallest_p(one.sampling.n, draws, side) for one in questions])
    return _largest(own, also, "floor")


def _largest(own: Floats, also: Also, name: str) -> Floats:
    """The largest of `own` [m] and of the tests' number of that name in each further family."""
    # A partner that could not be tested shows nothing: its p is 1.
    others = [
        np.nan_to_num([float(getattr(test, name)) for test in family], nan=1.0) for family in also
    ]
    return np.asarray(np.max(np.stack([own, *others]), axis=0))


def _singly(
    questions: Sequence[Question],
    side: Side,
    seed: int,
    also: Also,
    least: Floats,
    correction: Correction,
) -> list[Test]:
    """Each question flipped by itself, those that could pass corrected together."""
    able = least <= ALPHA
    tests = int(able.sum())
    p, adjusted, reach = np.full((3, len(able)), NAN)
    level = ALPHA / max(1, tests)
    alike: dict[int, list[int]] = {}  # by their number of groups: they share draws
    for i in np.flatnonzero(able).tolist():
        one = questions[i]
        alike.setdefault(one.sampling.n, []).append(i)
        reach[i] = _detectable(_parts(one), level / (2 if side == "two" else 1))
    for rows in alike.values():
        sums = np.stack([questions[i].sampling.sums(questions[i].values) for i in rows])
        p[rows] = sign_flip_ps(sums, seed=seed, side=side, tests=tests)
    p = _largest(p, also, "p")
    adjusted[able] = correction(p[able])
    floors = _floors(questions, side, also)
    made = _made(questions, p, adjusted, floors, least, reach, level, correction.__name__)
    return _told(questions, made, side, also)


def _told(
    questions: Sequence[Question], tests: Sequence[Test], side: Side, also: Also
) -> list[Test]:
    """The tests, those that could not pass with what they would need."""
    return [
        test if test.testable else replace(test, needs=_needs(one, side, [f[i] for f in also]))
        for i, (one, test) in enumerate(zip(questions, tests, strict=True))
    ]


def _made(
    questions: Sequence[Question],
    p: Floats,
    adjusted: Floats,
    floor: Floats,
    least: Floats,
    detectable: ArrayLike,
    level: float,
    by: str,
) -> list[Test]:
    """The tests; what is not testable has no p."""
    able = least <= ALPHA
    shown = (np.where(able, np.minimum(each, 1.0), NAN) for each in (p, adjusted))
    columns = [*shown, floor, np.minimum(least, 1.0), np.where(able, detectable, NAN)]
    return [
        Test(p, adjusted, floor, least, reach, level, one.sampling.n, one.sampling.of, by)
        for one, (p, adjusted, floor, least, reach) in zip(
            questions, np.stack(columns, 1).tolist(), strict=True
        )
    ]


def _parts(one: Question) -> Floats:
    """Each group's part of the mean over values, less what it would be if all were alike, in units
    of that mean, [g]: of groups of equal size, how far their means lie from it.

    A group of many values moves the mean more: as if groups were of equal size, power 0.8 was
    promised of twelve of which two hold half of all where it was 0.63; this gives 0.72.
    """
    away = one.values - (one.values.mean() if len(one.values) else NAN)
    sums = one.sampling.sums(away)
    return np.asarray(sums * len(sums) / max(len(away), 1), np.float64)


def _detectable(means: Floats, level: float, reach: float | None = None) -> float:
    """The mean that groups' means [g] would show with power 0.8, one-sided at `level`.

    sd c / sqrt(g), c the noncentrality with which Student's t exceeds its quantile so often, or
    exceeds what makes mean / sd (by n) the `reach` given. Normal quantiles in place of Student's,
    z_{1 - level} + z_{0.8}, promise 0.8 of 9 groups at 0.003 where the power is 0.4.
    """
    from scipy.special import nctdtrinc, stdtrit

    g = len(means)
    if g < 2 or reach == np.inf:
        return NAN
    bar = stdtrit(g - 1, 1 - level) if reach is None else reach * np.sqrt(g - 1)
    return float(means.std(ddof=1) * nctdtrinc(g - 1, 0.2, bar) / np.sqrt(g))

"""Which kinds of images the network fails on: clusters of the layer, and values of metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.estimate import NAN, Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.intervals import ALPHA, PORTIONS
from conceptseg.stats.p_values import sign_flip_floor
from conceptseg.study.bottleneck.maps import standardised

DRAWS = 4999
BLOCK = 500
COMPONENTS = 20
PICTURED = 6
"""Images by which a slice is pictured."""


@dataclass(frozen=True)
class Slice:
    """Images of one kind: mean quality, its difference from all others', and how sure that is.

    `test` is that of the difference (:func:`slice_tests`), `p_bh` its p corrected by Benjamini &
    Hochberg instead, None where it cannot be tested. `confidence` is the mean of the predicted
    largest probability, for contrast.
    """

    name: str
    kind: str
    members: np.ndarray
    quality: Estimate
    difference: Estimate
    confidence: float
    test: Test
    p_bh: float | None


def examples(one: Slice, quality: np.ndarray) -> list[int]:
    """The images that stand for a slice: those whose quality [n] is nearest to its mean."""
    rows = np.flatnonzero(one.members)
    order = np.argsort(np.abs(quality[rows] - one.quality.value), kind="stable")
    return [int(row) for row in rows[order[:PICTURED]]]


def clusters(pooled: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Cluster [n] of each row [n, d]: k-means on 20 principal components, numbered by size."""
    from sklearn.cluster import KMeans

    points = standardised(pooled, COMPONENTS)
    count = min(count, len(points))
    labels = KMeans(count, n_init=10, random_state=seed).fit_predict(points)
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    return np.asarray(np.argsort(order)[labels])


def _mean(sampling: Sampling, quality: np.ndarray) -> Estimate:
    """Mean of qualities in [0, 1], of which most may be near 1."""
    return sampling.mean(quality, within=PORTIONS).joined(sampling.bounded(quality, 0.0, 1.0))


def pairs(kinds: Mapping[str, np.ndarray], least: int) -> dict[str, np.ndarray]:
    """Members of two values of different columns, "column = value", where enough images are both.

    Pairs that say no more than one of the two are left out.
    """
    kept = {}
    for one, other in combinations(sorted(kinds), 2):
        both = kinds[one] & kinds[other]
        same_column = one.partition(" = ")[0] == other.partition(" = ")[0]
        alone = min(kinds[one].sum(), kinds[other].sum())
        if not same_column and least <= both.sum() < alone:
            kept[f"{one}, {other}"] = both
    return kept


def judged_slices(
    kinds: Mapping[tuple[str, str], np.ndarray],
    quality: np.ndarray,
    confidence: np.ndarray,
    sampling: Sampling,
    *,
    least: int,
    seed: int,
) -> list[Slice]:
    """The slices (kind, name) -> booleans [n], lowest quality first.

    Slices of fewer than `least` images, or that leave fewer outside, are left out; of slices with
    the same images the first is kept.
    """
    kept: dict[bytes, tuple[str, str, np.ndarray]] = {}
    for (kind, name), members in kinds.items():
        if min(members.sum(), (~members).sum()) >= least:
            kept.setdefault(members.tobytes(), (kind, name, members))
    if not kept:
        return []
    every = np.stack([members for *_, members in kept.values()])
    tests = slice_tests(every, quality, sampling, seed)
    able = [test.p for test in tests if test.testable]
    screened = iter(benjamini_hochberg(able).tolist())
    slices = [
        Slice(
            name,
            kind,
            members,
            _mean(sampling.at(members), quality[members]),
            sampling.difference(quality, members, 0.0, 1.0),
            float(confidence[members].mean()),
            test,
            next(screened) if test.testable else None,
        )
        for (kind, name, members), test in zip(kept.values(), tests, strict=True)
    ]
    return sorted(slices, key=lambda one: (one.quality.value, one.kind, one.name))


def slice_tests(
    members: np.ndarray, quality: np.ndarray, sampling: Sampling, seed: int
) -> list[Test]:
    """Whether "images in the slice are as good as the rest", two-sided: a test for each slice.

    With m_i whether image i is in the slice, a row of members [s, n], and q_i its quality, group g
    scores s_g = sum over its images of (m_i - mean m)(q_i - mean q). The sum of all scores is the
    difference in mean quality over images, times n mean m (1 - mean m), whether the slice runs
    within groups or between them. Signs are flipped by group, jointly for all slices; a statistic
    is the sum by the root of the scores' sum of squares, which no flip moves, and the corrected p
    is that of the largest of all of them.

    Assumes that groups are independent and that, where a slice makes no difference, scores are as
    likely to be of either sign; their spread may differ by group. A slice that rests on few groups
    (:func:`effective_groups`) is not testable. Where each image is a group of its own, images
    exchange their qualities instead, which asks for no symmetry and for no number of groups, only
    that all are alike where the slice makes no difference.

    Source: Hemerik, Goeman & Finos 2020, "Robust testing in generalized linear models by sign
    flipping score contributions"; Westfall & Young 1993, single-step maxT.
    """
    place, least = sampling.place, 1 / (1 + DRAWS)
    inside = members - members.mean(1, keepdims=True)
    away = quality - quality.mean()
    single = sampling.n == len(place)
    counts = [int(effective_groups(each, place) + 1e-9) for each in members]
    floors = [least if single else max(least, sign_flip_floor(count)) for count in counts]
    tested = np.array(floors) <= ALPHA
    level = ALPHA / max(1, int(tested.sum()))
    p, adjusted = np.full((2, len(members)), NAN)
    if tested.any():
        sums = [each if single else sampling.sums(each * away) for each in inside[tested]]
        length = np.sqrt((np.stack(sums) ** 2).sum(1, keepdims=True))
        # What is zero but for rounding becomes zero.
        unit = np.stack(sums) / np.where(length > 1e-12, length, np.inf)
        # Sums of the same numbers in another order differ in the last bits: ties must count.
        observed = np.abs(unit @ away if single else unit.sum(1)) - 1e-9
        rng = np.random.default_rng([seed, 12])
        alone, largest = np.ones((2, len(observed)))
        for start in range(0, DRAWS, BLOCK):
            count = min(BLOCK, DRAWS - start)
            if single:
                drawn = rng.permuted(np.tile(away, (count, 1)), axis=1)
            else:
                drawn = 1.0 - 2.0 * rng.integers(0, 2, (count, sampling.n))
            null = np.abs(drawn @ unit.T)
            alone += (null >= observed).sum(0)
            largest += (null.max(1)[:, None] >= observed).sum(0)
        p[tested], adjusted[tested] = alone / (1 + DRAWS), largest / (1 + DRAWS)
    return [
        Test(alone_p, family_p, floor, floor, NAN, level, sampling.n, sampling.of, "largest")
        for alone_p, family_p, floor in np.stack([p, adjusted, floors], 1).tolist()
    ]


def effective_groups(members: np.ndarray, groups: np.ndarray) -> float:
    """Effective number of groups behind a slice, booleans [n] (Kish).

    A group's weight is its part of the variance of membership, sum (m_i - mean m)^2: a slice that
    is one group of ten rests on little more than one.
    """
    _, place = np.unique(groups, return_inverse=True)
    weight = np.bincount(place, (members - members.mean()) ** 2)
    return float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0

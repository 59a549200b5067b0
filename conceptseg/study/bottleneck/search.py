"""Kinds of images that fail, searched for among joined conditions, and judged on other images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.slices import Slice, judged_slices

BEAM = 20
"""Joined conditions that are joined further, at each number of them."""
MOST = 10
"""Slices that are judged: the more, the more each has to show."""
ALIKE = 0.5
"""Jaccard index of the images of two slices from which only the stronger one is judged."""


@dataclass(frozen=True)
class Condition:
    """Images [n] of which something is so: `name` says what, `column` of what it is a value."""

    name: str
    column: str
    members: np.ndarray


@dataclass(frozen=True)
class Joined:
    """Conditions that hold together, their images [n], and how much worse these are."""

    conditions: tuple[Condition, ...]
    members: np.ndarray
    worse: float

    @property
    def name(self) -> str:
        return " and ".join(sorted(one.name for one in self.conditions))


def search_slices(
    conditions: Sequence[Condition],
    quality: np.ndarray,
    confidence: np.ndarray,
    sampling: Sampling,
    *,
    length: int,
    least: int,
    seed: int,
) -> list[Slice]:
    """The slices that one half of the groups shows worst, as the other half has them.

    Nothing of the search comes into the tests, which are joint for all slices that are judged
    (:func:`~conceptseg.study.bottleneck.slices.slice_tests`): so however many conditions there are,
    any false slice is found in 5 % of searches. `members` are those of the judging half, [n].
    """
    order = sorted(set(sampling.groups), key=lambda one: sample_priority(seed + 4, one))
    half = {name: place % 2 == 0 for place, name in enumerate(order)}
    first = np.array([half[name] for name in sampling.groups], bool)
    found = joined(conditions, quality, first, length, least)
    rows = np.flatnonzero(~first)
    kinds = {("searched", one.name): one.members[rows] for one in found}
    slices = judged_slices(
        kinds, quality[rows], confidence[rows], sampling.at(rows), least=least, seed=seed
    )
    every = np.zeros((len(slices), len(quality)), bool)
    for row, one in zip(every, slices, strict=True):
        row[rows] = one.members
    return [Slice(**{**vars(one), "members": row}) for row, one in zip(every, slices, strict=True)]


def joined(
    conditions: Sequence[Condition],
    quality: np.ndarray,
    first: np.ndarray,
    length: int,
    least: int,
) -> list[Joined]:
    """The strongest slices of up to `length` conditions on the images `first` [n], by beam search.

    The strength is the shortfall of the mean quality in the slice, in standard errors. A slice of
    several conditions counts only if each of them makes it worse, by the mean. Of slices of mostly
    the same images the strongest is kept.
    """
    singles = [one for one in conditions if (one.members & first).sum() >= least]
    level = [_joined((one,), one.members, quality, first) for one in singles]
    every, means = list[Joined](), dict[bytes, float]()
    for depth in range(length):
        level = sorted(level, key=lambda one: (-one.worse, one.name))[:BEAM]
        every += level
        if depth + 1 == length:
            break
        level = list(_further(level, singles, quality, first, least).values())
        level = [one for one in level if _each_counts(one, quality, first, means)]
    kept = list[Joined]()
    for one in sorted(every, key=lambda one: (-one.worse, len(one.conditions), one.name)):
        if one.worse > 0 and all(_alike(one.members, other.members) < ALIKE for other in kept):
            kept.append(one)
    return kept[:MOST]


def _joined(
    conditions: tuple[Condition, ...], members: np.ndarray, quality: np.ndarray, first: np.ndarray
) -> Joined:
    own, spread = quality[members & first], float(quality[first].std())
    short = float(quality[first].mean() - own.mean())
    return Joined(conditions, members, short * np.sqrt(len(own)) / max(spread, 1e-12))


def _further(
    level: Sequence[Joined],
    singles: Sequence[Condition],
    quality: np.ndarray,
    first: np.ndarray,
    least: int,
) -> Mapping[bytes, Joined]:
    """Each with one more condition of another column; of equal images the first."""
    found = dict[bytes, Joined]()
    for one in level:
        columns = {condition.column for condition in one.conditions}
        for other in singles:
            both = one.members & other.members
            if other.column in columns or (both & first).sum() < least:
                continue
            found.setdefault(
                both.tobytes(), _joined((*one.conditions, other), both, quality, first)
            )
    return found


def _each_counts(
    one: Joined, quality: np.ndarray, first: np.ndarray, means: dict[bytes, float]
) -> bool:
    """Whether the slice is worse, by the mean, than without any one of its conditions."""

    def mean(members: np.ndarray) -> float:
        key = members.tobytes()
        if key not in means:
            means[key] = float(quality[members & first].mean())
        return means[key]

    own = mean(one.members)
    parts = range(len(one.conditions))
    without = (
        np.logical_and.reduce([one.conditions[k].members for k in parts if k != out])
        for out in parts
    )
    return all(own < mean(rest) for rest in without)


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))

"""Whether an object's neighbours foretell that it is wrong, out of fold; and as confidence does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.draw import in_turn
from conceptseg.stats.areas import area, told_apart, told_better
from conceptseg.stats.estimate import Estimate, Sampling, jackknifed
from conceptseg.stats.intervals import Floats
from conceptseg.study.examples.critic import Likeness

CUTS = 20
"""Parts of the groups, at most, that are left out in turn."""


def fold_of(groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """The part of each object, [m]: whole groups in turn, in an order by hash."""
    place = in_turn(seed, (f"fold {name}" for name in groups), folds)
    return np.array([place[f"fold {name}"] for name in groups])


def across(
    blocks: Mapping[str, np.ndarray], weights: Mapping[str, float], fold: np.ndarray
) -> Floats:
    """Likeness of each object with those of the other parts, on which it is fitted, [m, m].

    -inf between objects of one part.
    """
    like = np.full((len(fold), len(fold)), -np.inf)
    for k in np.unique(fold).tolist():
        mine, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if len(others) > 1:
            rest = {name: rows[others] for name, rows in blocks.items()}
            own = {name: rows[mine] for name, rows in blocks.items()}
            like[np.ix_(mine, others)] = Likeness.fit(rest, weights)(own, rest)
    return like


def nearness(like: Floats, wrong: np.ndarray, neighbours: int) -> tuple[Floats, np.ndarray]:
    """How much nearer wrong objects are than right ones, [m], and the nearest of either, [m, 2].

    The score is the mean likeness of the nearest `neighbours` wrong objects less that of the right
    ones, by :func:`across`. `wrong` [m] is 1, 0, or -1 where nobody knows: such objects have a
    score but are nobody's neighbours. nan and -1 where no object of an outcome can be compared.
    """
    score, nearest = np.zeros(len(like)), np.full((len(like), 2), -1)
    for outcome in (0, 1):
        columns = np.flatnonzero(wrong == outcome)
        if not len(columns):
            return np.full(len(like), np.nan), nearest
        order = np.argsort(-like[:, columns], axis=1, kind="stable")[:, :neighbours]
        near = np.take_along_axis(like[:, columns], order, 1)
        there = np.isfinite(near)
        total = np.where(there, near, 0).sum(1)
        counts = there.sum(1)
        mean = np.divide(total, counts, out=np.full(len(like), np.nan), where=counts > 0)
        score += mean if outcome else -mean
        nearest[:, outcome] = np.where(there[:, 0], columns[order[:, 0]], -1)
    return score, nearest


@dataclass(frozen=True)
class Scores:
    """Of m objects: how near wrong ones are, the network's doubt, nearness where each of b parts
    of the groups is nobody's neighbour, [m, b], and the part that each object is in, [m]."""

    nearness: Floats
    doubt: Floats
    without: Floats
    cut: np.ndarray


def compared(
    scores: Scores, wrong: np.ndarray, strata: np.ndarray, sampling: Sampling
) -> dict[str, Estimate]:
    """The areas of `nearness` and `doubt`, and the `difference` of the first less the second, of
    wrong objects over right ones of their class (:mod:`conceptseg.stats.areas`).

    Draws of the groups know nothing of what other neighbours would have said, so the intervals of
    nearness and of the difference are at least those of a jackknife that leaves out a part of the
    groups among the objects and among the neighbours.
    """
    bad = wrong == 1
    left = list[tuple[float, float]]()
    for b in np.unique(scores.cut).tolist():
        kept = (scores.cut != b) & np.isfinite(scores.without[:, b])
        one = [
            area(each[kept], bad[kept], strata[kept])
            for each in (scores.without[:, b], scores.doubt)
        ]
        left.append((one[0], one[0] - one[1]))
    spread = np.array(left).T
    found = told_apart(sampling, scores.nearness, bad, strata)
    gap = told_better(sampling, scores.nearness, scores.doubt, bad, strata)
    return {
        "nearness": found.joined(jackknifed(found, spread[0])),
        "doubt": told_apart(sampling, scores.doubt, bad, strata),
        "difference": gap.joined(jackknifed(gap, spread[1])),
    }

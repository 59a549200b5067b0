"""Objects that are right or wrong: whether those of a kind are wrong more often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.family import Question, Test, given, judge
from conceptseg.stats.intervals import Floats


def right_part(mask: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> float:
    """Part of an object's labelled pixels that are right; nan where fewer than half are labelled.

    A mask, bool [h, w], and maps of classes [h, w], the truth -1 where nothing is labelled.
    """
    known = mask & (truth >= 0)
    return float((predicted == truth)[known].mean()) if 2 * known.sum() >= mask.sum() else np.nan


def wrongness(right: Floats, least: float) -> np.ndarray:
    """Of objects, by the part of each that is right [m]: 0 where that is `least` or more, 1 where
    it is less, -1 where nobody knows (nan)."""
    return np.where(np.isnan(right), -1, right < least).astype(np.int64)


@dataclass(frozen=True)
class Outcomes:
    """Objects [m]: which are of the kind, `own`, and which wrong, `bad`; what they count as."""

    own: np.ndarray
    bad: np.ndarray
    sampling: Sampling


def wrong_otherwise(asked: Sequence[Outcomes], seed: int, objects: int) -> list[Test]:
    """Whether objects of a kind are wrong more, or less, often than the others, by Holm.

    The score of the 2 x 2 table is summed over groups: their flips keep the level however unlike
    groups are. Where either is rare, flips alone claim too much, for the scores are skewed then; so
    each has to hold by Fisher's exact test as well. `objects` are all there are.
    """
    if not asked:
        return []
    questions = [
        Question((one.own - one.own.mean()) * (one.bad - one.bad.mean()), one.sampling)
        for one in asked
    ]
    p, floors = np.array([dealt(one.own, one.bad) for one in asked]).reshape(-1, 2).T
    also = [given(p, floors, n=objects, of="objects")]
    return judge(questions, side="two", seed=seed, also=also)


def more_often(one: Outcomes, strata: np.ndarray, seed: int) -> Test:
    """Whether objects of a kind are wrong more often than others of their class, `strata` [m].

    By flips of groups' scores, each less its class's means, and by outcomes dealt at random within
    each class, counted exactly; each has to hold.

    Source: for the second, the exact test of Cochran, Mantel and Haenszel.
    """
    values, chance, least, most = np.zeros(len(one.own)), np.ones(1), 0, 0
    for c in np.unique(strata):
        rows = strata == c
        own, bad = one.own[rows].astype(float), one.bad[rows].astype(float)
        values[rows] = (own - own.mean()) * (bad - bad.mean())
        n, ours, wrong = len(own), int(own.sum()), int(bad.sum())
        low, high = max(0, ours + wrong - n), min(ours, wrong)
        chance = np.convolve(chance, _hits(n, ours, wrong, low, high))
        least, most = least + low, most + high
    both = int((one.own & (one.bad == 1)).sum())
    p = min(1.0, float(chance[both - least :].sum()))
    also = [given([p], [float(chance[most - least])], n=len(values), of="objects")]
    return judge([Question(values, one.sampling)], side="greater", seed=seed, also=also)[0]


def _hits(n: int, ours: int, wrong: int, low: int, high: int) -> Floats:
    """How likely so many of our own are wrong, from `low` to `high`, of n of which some are."""
    from scipy.stats import hypergeom

    return np.asarray(hypergeom(n, ours, wrong).pmf(np.arange(low, high + 1)), np.float64)


def dealt(own: np.ndarray, bad: np.ndarray) -> tuple[float, float]:
    """P-value, two-sided, of outcomes `bad` [m] having been dealt to objects at random, of which
    `own` [m] are one prototype's; and the least that their numbers allow.

    Source: Fisher's exact test.
    """
    from scipy.stats import fisher_exact

    n, ours, wrong = len(own), int(own.sum()), int(bad.sum())

    def p(both: int) -> float:
        table = [[both, ours - both], [wrong - both, n - ours - wrong + both]]
        return float(fisher_exact(table)[1])

    return p(int(bad[own].sum())), min(p(max(0, ours + wrong - n)), p(min(ours, wrong)))

"""How far a picture may be trusted: what it reaches, and whether it resembles real images.

For feature f with pictures s and real images R_f, embedded in a space that was not optimised,

    likeness(f, g) = mean over s and over r in R_g of cos(e(s) - m, e(r) - m),

m the mean of all real embeddings. Features that share a third of their strongest images or more
respond to the same thing; they are not compared. So let above(f, g) be the share of the features
that can be compared with g whose images are less alike to the picture of f than those of g are.
The rank of above(f, f) among above(f, g) of all features g of the layer gives the p-value, exact if
f's own images are no different to the picture than those of any other feature. (The rank of
likeness(f, f) among that of the features that f is compared with would not do: where many features
share images a picture that is like one of them is like all, and each would come first. Nor would
random sets of images: a feature's images are alike among themselves, so their mean likeness spreads
wider than that of a random set.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.family import Test, given
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.exemplars import REAL
from conceptseg.study.actmax.optimise import MADE
from conceptseg.study.actmax.survey import SURVEY

SHARED = 1 / 3
UNSHOWN = "not shown to be representative"


@dataclass(frozen=True)
class Likeness:
    """In one space, of f features: `matrix` [f, g] to the images of g features, the first f of
    them their own; `own` [f]; `above` [f] share of those compared whose images are less alike (nan
    without any); `tests` [f], of all that can be compared with any; `compared` [f, g]; `agree` [f]
    mean cosine between pictures of several seeds (nan for one).
    """

    matrix: np.ndarray
    own: np.ndarray
    above: np.ndarray
    tests: tuple[Test, ...]
    compared: np.ndarray
    agree: np.ndarray


def likeness(
    made: np.ndarray,
    made_feature: np.ndarray,
    real: np.ndarray,
    real_feature: np.ndarray,
    same: np.ndarray,
) -> Likeness:
    """From embeddings of pictures [n, d] and real images [m, d] and their features [n], [m].

    `same` [g, g] marks pairs of features that are not compared. The pictures are of the first f.
    """
    g, f = len(same), int(made_feature.max()) + 1
    real = np.asarray(real, np.float64)
    middle = real.mean(0)
    rows, columns = _unit(np.asarray(made, np.float64) - middle), _unit(real - middle)
    cosine = np.stack([(rows[made_feature == i] @ columns.T).mean(0) for i in range(f)])
    matrix = np.stack([cosine[:, real_feature == i].mean(1) for i in range(g)], axis=1)
    apart = ~(same | np.eye(g, dtype=bool))
    each = np.stack([_above(own, apart) for own in matrix])
    able = np.isfinite(each[0])
    above = each.diagonal().copy()
    first = (each[:, able] >= above[:, None]).sum(1) / max(1, able.sum())
    p = np.where(np.isfinite(above), first, 1.0)
    agree = np.array([_agreement(rows[made_feature == i]) for i in range(f)])
    tests = given(p, 1 / max(1, int(able.sum())), benjamini_hochberg, n=g, of="units")
    own = matrix.diagonal().copy()
    return Likeness(matrix, own, above, tuple(tests), apart[:f], agree)


def _above(own: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Of each feature the share of those it is compared with (bool [g, g]) that are less alike to a
    picture than it is, by likeness `own` [g]; ties count half, nan of none: [g]."""
    less = own[None] < own[:, None]
    ties = own[None] == own[:, None]
    count = apart.sum(1)
    below = (less & apart).sum(1) + 0.5 * (ties & apart).sum(1)
    return np.where(count > 0, below / np.maximum(count, 1), np.nan)


def percentile(values: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Share of real values [m, f] below what was reached [f], ties counted half."""
    below = (values < reached).mean(0)
    ties = (values == reached).mean(0)
    return np.asarray(below + 0.5 * ties)


def verdict(started: bool, reached: float, largest: float, p: float, testable: bool) -> str:
    """A picture's worth in a few words, from its corrected p and whether it could have passed."""
    if not started:
        return "not started"
    if p <= ALPHA:
        return "representative"
    if not testable:
        return "not testable"
    return "beyond the data" if reached > largest else UNSHOWN


def able(one: Likeness) -> np.ndarray:
    """Which pictures [f] would pass, corrected, if no other feature's images were as alike.

    More than `Test.testable` asks, by which all others may be as strong as they can be.
    """
    p = np.array([test.p for test in one.tests])
    passes = np.zeros(len(p), dtype=bool)
    for i, test in enumerate(one.tests):
        best = np.where(np.arange(len(p)) == i, test.floor, p)
        passes[i] = benjamini_hochberg(best)[i] <= ALPHA
    return passes


def alike(exemplars: Sequence[Sequence[str]]) -> np.ndarray:
    """Which features share at least a third of their real images, bool [g, g]."""
    sets = [frozenset(one) for one in exemplars]
    return np.array(
        [[len(a & b) >= SHARED * min(len(a), len(b)) for b in sets] for a in sets], dtype=bool
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    scale = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(scale, 1e-12)


def _agreement(rows: np.ndarray) -> float:
    """Mean cosine over pairs of unit rows."""
    if len(rows) < 2:
        return float("nan")
    cosines = rows @ rows.T
    return float(cosines[np.triu_indices(len(rows), 1)].mean())


STALLED = 1.001
"""An ascent whose objective did not grow by this factor, nor the noise's own, did not start."""


@dataclass(frozen=True)
class Judged:
    """All numbers of f features; `spaces` maps a space's name to its likeness."""

    before: np.ndarray
    after: np.ndarray
    largest: np.ndarray
    percentile: np.ndarray
    started: np.ndarray
    spaces: Mapping[str, Likeness]
    verdict: tuple[str, ...]

    @property
    def main(self) -> Likeness:
        """That in the earlier layer, or in the shuffled network where there is none."""
        return self.spaces.get("earlier", self.spaces["forgot"])

    @property
    def usable(self) -> np.ndarray:
        """Features whose picture can be compared: the ascent started, and others are left."""
        return np.flatnonzero(self.started & np.isfinite(self.main.above))


JUDGED = Key("judged", Judged)


def assess(study: Actmax, context: Context, known: Known) -> Known:
    """What the pictures reach and resemble, and how far each may be trusted."""
    survey, made, real = known[SURVEY], known[MADE], known[REAL]
    f = len(survey.objective.ids)
    feature = made["feature"]

    before, after = (
        np.array([made[name][feature == g].mean() for g in range(f)])
        for name in ("before", "after")
    )
    started = after > before + (STALLED - 1) * np.maximum(np.abs(before), 1e-9)
    pool = range(len(survey.pool.ids))
    same = alike([[sample for sample, _ in survey.exemplars(g)] for g in pool])
    spaces = {
        name: likeness(made[name], feature, rows, real.feature, same)
        for name, rows in real.embeddings.items()
    }
    main = spaces.get("earlier", spaces["forgot"])
    words = tuple(
        verdict(bool(s), float(a), float(top), test.adjusted, bool(could))
        for s, a, top, test, could in zip(
            started, after, survey.largest, main.tests, able(main), strict=True
        )
    )
    share = percentile(survey.values, after)
    return JUDGED(Judged(before, after, survey.largest, share, started, spaces, words))

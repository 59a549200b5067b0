"""How far a picture may be trusted: what it reaches, and whether it resembles real images.

For feature f with pictures s and real images R_f, embedded in a space that was not optimised,

    likeness(f, g) = mean over s and over r in R_g of cos(e(s) - m, e(r) - m),

m the mean of all real embeddings. The rank of likeness(f, f) among likeness(f, g) of the other
features g of the layer gives the p-value, exact if f's own images are no different to the picture
than those of any other feature. (Random sets of images would not do as a null: a feature's images
are alike among themselves, so their mean likeness spreads wider than that of a random set.)
Features that share a third of their strongest images or more respond to the same thing; they are
not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.study.actmax.exemplars import Real
from conceptseg.study.actmax.survey import Survey

ALPHA = 0.05
SHARED = 1 / 3


@dataclass(frozen=True)
class Likeness:
    """In one space, of f features: `matrix` [f, g] to the images of g features, the first f of
    them their own; `own` [f]; `above` [f] share of those compared whose images are less alike (nan
    without any); `p`, `p_bh` [f]; `compared` [f, g]; `agree` [f] mean cosine between pictures of
    several seeds (nan for one).
    """

    matrix: np.ndarray
    own: np.ndarray
    above: np.ndarray
    p: np.ndarray
    p_bh: np.ndarray
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

    `same` [f, g] marks pairs of features that are not compared.
    """
    f, g = same.shape
    real = np.asarray(real, np.float64)
    middle = real.mean(0)
    rows, columns = _unit(np.asarray(made, np.float64) - middle), _unit(real - middle)
    cosine = np.stack([(rows[made_feature == i] @ columns.T).mean(0) for i in range(f)])
    matrix = np.stack([cosine[:, real_feature == i].mean(1) for i in range(g)], axis=1)
    own = matrix[np.arange(f), np.arange(f)]
    compared = ~same
    compared[np.arange(f), np.arange(f)] = False
    count = compared.sum(1)
    below = ((matrix < own[:, None]) & compared).sum(1)
    ties = ((matrix == own[:, None]) & compared).sum(1)
    above = np.where(count > 0, (below + 0.5 * ties) / np.maximum(count, 1), np.nan)
    p = (1 + count - below) / (1 + count)
    agree = np.array([_agreement(rows[made_feature == i]) for i in range(f)])
    return Likeness(matrix, own, above, p, benjamini_hochberg(p), compared, agree)


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
    return "beyond the data" if reached > largest else "not representative"


def able(one: Likeness) -> np.ndarray:
    """Which pictures [f] would pass, corrected, if no other feature's images were as alike."""
    floor = 1 / (1 + one.compared.sum(1))
    found = np.zeros(len(one.p), dtype=bool)
    for i in range(len(found)):
        best = one.p.copy()
        best[i] = floor[i]
        found[i] = benjamini_hochberg(best)[i] <= ALPHA
    return found


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


def judged(found: Survey, made: Mapping[str, np.ndarray], real: Real) -> Judged:
    f = len(found.objective.ids)
    feature = made["feature"]

    def mean(name: str) -> np.ndarray:
        return np.array([made[name][feature == g].mean() for g in range(f)])

    before, after = mean("before"), mean("after")
    started = after > before + (STALLED - 1) * np.maximum(np.abs(before), 1e-9)
    pool = range(len(found.pool.ids))
    same = alike([[sample for sample, _ in found.exemplars(g)] for g in pool])[:f]
    spaces = {
        name: likeness(made[name], feature, rows, real.feature, same)
        for name, rows in real.embeddings.items()
    }
    main = spaces.get("earlier", spaces["forgot"])
    words = tuple(
        verdict(bool(s), float(a), float(top), float(p), bool(could))
        for s, a, top, p, could in zip(
            started, after, found.largest, main.p_bh, able(main), strict=True
        )
    )
    share = percentile(found.values, after)
    return Judged(before, after, found.largest, share, started, spaces, words)

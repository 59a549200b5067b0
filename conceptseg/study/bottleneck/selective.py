"""What is risked when a network answers for some images only: those of which a score is surest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.fits import all_of
from conceptseg.result.columns import Column
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.intervals import Floats
from conceptseg.study.bottleneck.tables import NAMES

BLOCK = 200
"""Draws taken at once."""
AREA = Column("area", "area under risk and coverage", interval=True, brief="area")
EXCESS = Column("excess", "above the best order", interval=True)
LESS = Column("less", "below fitted confidence", interval=True)


@dataclass(frozen=True)
class Selective:
    """One score's area under risk and coverage, how far it lies above that of the best order, and
    how far below that of fitted confidence (None of itself), paired by draw."""

    name: str
    area: Estimate
    excess: Estimate
    less: Estimate | None


def area(score: np.ndarray, loss: np.ndarray, weights: np.ndarray) -> Floats:
    """Area under risk and coverage, by rows of weights [d, n] of the images, [d].

    The mean over images of the risk at their own score: the mean loss [n] of all images whose score
    [n] is as high or higher. In [0, largest loss]; the mean loss of a constant score.

    Source: Geifman, Uziel & El-Yaniv 2019 (AURC); Zenk et al. 2024 for segmentation.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    # The last place of each run of equal scores: they are accepted together.
    ends = np.searchsorted(-ranked, -ranked, side="right") - 1
    found = []
    for start in range(0, len(weights), BLOCK):
        own = weights[start : start + BLOCK][:, order].astype(np.float64)
        held = np.cumsum(own, 1)[:, ends]
        lost = np.cumsum(own * loss[order], 1)[:, ends]
        risk = np.divide(lost, held, out=np.zeros_like(lost), where=held > 0)
        found.append((own * risk).sum(1) / own.sum(1))
    return np.concatenate(found)


def risks(score: np.ndarray, loss: np.ndarray, coverage: np.ndarray) -> Floats:
    """Mean loss of the share `coverage` [r] of images of the highest scores; ties count alike."""
    values, place = np.unique(-score, return_inverse=True)
    mean = np.bincount(place, loss, len(values)) / np.bincount(place, minlength=len(values))
    kept = np.cumsum(mean[place][np.argsort(place, kind="stable")])
    count = np.clip(np.ceil(coverage * len(score) - 1e-9).astype(int), 1, len(score))
    return np.asarray(kept[count - 1] / count)


def best_score(loss: np.ndarray) -> np.ndarray:
    """The score [n] of least area: images by their loss [n], no two of them accepted together."""
    return -np.argsort(np.argsort(loss, kind="stable"), kind="stable")


def selective(
    scores: Mapping[str, np.ndarray], loss: np.ndarray, sampling: Sampling, reference: str
) -> list[Selective]:
    """Each score [repeats, n] (high means sure); the means over repeats."""
    items = [(score,) for score in (*scores.values(), best_score(loss)[None])]
    whole = np.ones((1, len(loss)), int)
    drawn = all_of(_drawn, items, loss, sampling, whole)
    *found, best = drawn
    by_name = dict(zip(scores, found, strict=True))
    own = by_name[reference]

    def less(one: np.ndarray, other: np.ndarray) -> Estimate:
        return sampling.of_draws(float(one[0] - other[0]), one[1:] - other[1:])

    return [
        Selective(
            name,
            sampling.of_draws(float(one[0]), one[1:]),
            less(one, best),
            None if name == reference else less(own, one),
        )
        for name, one in by_name.items()
    ]


def _drawn(loss: np.ndarray, sampling: Sampling, whole: np.ndarray, score: np.ndarray) -> Floats:
    """The area of all images, then of each draw of them, means over repeats, [1 + draws]."""
    weights = np.concatenate([whole, sampling.weights()])
    return np.asarray(np.mean([area(one, loss, weights) for one in score], 0))


def selective_tables(
    scores: Mapping[str, np.ndarray], loss: np.ndarray, sampling: Sampling
) -> dict[str, Table]:
    """The tables of a result: areas against fitted confidence, and curves."""
    found = selective(scores, loss, sampling, "confidence")
    return {"selective": selective_table(found, loss), "risk": risk_table(scores, loss)}


def selective_table(found: Sequence[Selective], loss: np.ndarray) -> Table:
    """A row for each score, for chance, and for the best order."""
    columns = (Column("score", of=lambda one: NAMES[one.name]), AREA, EXCESS, LESS)
    table = Table.of(found, columns, "What is risked by answering for the surest images only")
    best = float(area(best_score(loss), loss, np.ones((1, len(loss)), int))[0])
    chance = float(loss.mean())
    ends = [
        {"score": "chance", "area": chance, "excess": chance - best},
        {"score": "at best", "area": best, "excess": 0.0},
    ]
    nothing = dict.fromkeys((*AREA.keys, *EXCESS.keys, *LESS.keys))
    rows = [*table.rows, *({**nothing, **row} for row in ends)]
    return Table(rows, table.columns, table.labels, table.caption)


def risk_table(scores: Mapping[str, np.ndarray], loss: np.ndarray) -> Table:
    """Mean loss of the images that are answered for, by their share, for each score."""
    coverage = np.linspace(0.05, 1, 20)
    curves = {
        NAMES[name]: np.mean([risks(one, loss, coverage) for one in score], 0)
        for name, score in scores.items()
    }
    best = risks(-loss, loss, coverage)
    return Table.of_columns({"answered": coverage, **curves, "at best": best}, "Risk by coverage")

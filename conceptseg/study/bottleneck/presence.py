"""Images without a class: no overlap is defined there, so its presence is a task of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.areas import told_apart
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.study.bottleneck.regress import splits


@dataclass(frozen=True)
class Presence:
    """One class: images with and without it, how often the network errs, what predicts it best.

    `missed`: of images that hold the class, the share in which none of it is predicted. `alarms`:
    of images without it, the share in which some is predicted. `layer` and `peak` are AUCs of
    telling the two kinds apart by the layer (logistic regression, out of fold) and by the class's
    largest probability; None where either kind has too few images.
    """

    class_id: int
    present: int
    absent: int
    missed: Estimate | None
    alarms: Estimate | None
    layer: Estimate | None
    peak: Estimate | None


def presence(
    class_id: int,
    holds: np.ndarray,
    errs: np.ndarray,
    peak: np.ndarray,
    layer: np.ndarray,
    sampling: Sampling,
    fold_groups: np.ndarray,
    *,
    folds: int,
    least: int,
    seed: int,
) -> Presence:
    """`holds` [n] says which images hold the class (1), which do not (0), and which hardly (-1).

    `errs` [n]: in the first, whether the class is missed altogether, in the second, whether it is
    predicted. `layer` [n, d] are principal components of unit variance, which know no labels,
    `fold_groups` [n] numbers of what folds do not cut.
    """
    held, empty = holds == 1, holds == 0
    missed, alarms = (
        sampling.at(rows).share(errs[rows]) if rows.any() else None for rows in (held, empty)
    )
    by_layer = by_peak = None
    if min(held.sum(), empty.sum()) >= least:
        rows = held | empty
        truth, own = held[rows], sampling.at(rows)
        scores = logistic(layer[rows], truth, fold_groups[rows], folds, seed)
        if np.isfinite(scores).all():
            by_layer, by_peak = (told_apart(own, one, truth) for one in (scores, peak[rows]))
    counts = int(held.sum()), int(empty.sum())
    return Presence(class_id, *counts, missed, alarms, by_layer, by_peak)


def presence_of(
    layer: np.ndarray,
    sampling: Sampling,
    fold_groups: np.ndarray,
    settings: Mapping[str, int],
    class_id: int,
    holds: np.ndarray,
    errs: np.ndarray,
    peak: np.ndarray,
) -> Presence:
    """One class's, with what all share before it."""
    return presence(
        class_id,
        holds,
        errs,
        peak,
        layer,
        sampling,
        fold_groups,
        folds=settings["folds"],
        least=settings["least"],
        seed=settings["seed"],
    )


def logistic(
    rows: np.ndarray, truth: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Out-of-fold log odds [n] of a logistic regression on rows [n, d].

    nan for rows of a fold whose other folds hold one kind alone.
    """
    from sklearn.linear_model import LogisticRegression

    scores = np.full(len(rows), np.nan)
    count = min(folds, len(np.unique(groups)))
    if count < 2:
        return scores
    for fit, held in splits(groups, count, seed):
        if len(np.unique(truth[fit])) == 2:
            fitted = LogisticRegression(C=0.1, max_iter=1000).fit(rows[fit], truth[fit])
            scores[held] = fitted.decision_function(rows[held])
    return scores

"""Images without a class: no overlap is defined there, so telling them is a task of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conceptseg.stats.ranks import auc
from conceptseg.study.bottleneck.evaluate import Estimate, estimate, estimate_share
from conceptseg.study.bottleneck.regress import splits


@dataclass(frozen=True)
class Presence:
    """One class: images with and without it, how often the network errs, who tells it best.

    `missed`: of images that hold the class, the share in which none of it is found. `alarms`: of
    images without it, the share in which some is predicted. `layer` and `peak` are AUCs of telling
    one from the other, by the layer (logistic regression, out of fold) and by the class's largest
    probability; None where either kind has too few groups.
    """

    class_id: int
    present: int
    absent: int
    missed: Estimate | None
    alarms: Estimate | None
    layer: Estimate | None
    peak: Estimate | None


def told_apart(
    class_id: int,
    held: np.ndarray,
    empty: np.ndarray,
    shared: np.ndarray,
    predicted: np.ndarray,
    peak: np.ndarray,
    layer: np.ndarray,
    groups: np.ndarray,
    fold_groups: np.ndarray,
    *,
    folds: int,
    least: int,
    least_pixels: float,
    seed: int,
) -> Presence:
    """`held` and `empty` [n] say which images hold the class and which do not (neither: tiny).

    `shared`, `predicted` [n]: shares of the image; an alarm is a prediction of more than
    `least_pixels`. `layer` [n, d] are principal components of unit variance, which know no labels,
    `groups` and `fold_groups` [n] numbers: what intervals count, and what folds do not cut.
    """
    missed = alarms = by_layer = by_peak = None
    if held.any():
        missed = estimate_share(shared[held] == 0, groups[held], seed)
    if empty.any():
        alarms = estimate_share(predicted[empty] > least_pixels, groups[empty], seed)
    if min(held.sum(), empty.sum()) >= least:
        rows = held | empty
        truth, own = held[rows], groups[rows]
        scores = logistic(layer[rows], truth, fold_groups[rows], folds, seed)
        if np.isfinite(scores).all():
            by_layer = estimate(lambda r: auc(scores[r][truth[r]], scores[r][~truth[r]]), own, seed)
            sure = peak[rows]
            by_peak = estimate(lambda r: auc(sure[r][truth[r]], sure[r][~truth[r]]), own, seed)
    counts = int(held.sum()), int(empty.sum())
    return Presence(class_id, *counts, missed, alarms, by_layer, by_peak)


def logistic(
    rows: np.ndarray, truth: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Out-of-fold log odds [n] of a logistic regression on rows [n, d].

    nan for rows of a fold whose other folds hold one kind alone.
    """
    from sklearn.linear_model import LogisticRegression

    found = np.full(len(rows), np.nan)
    count = min(folds, len(np.unique(groups)))
    if count < 2:
        return found
    for fit, held in splits(groups, count, seed):
        if len(np.unique(truth[fit])) == 2:
            fitted = LogisticRegression(C=0.1, max_iter=1000).fit(rows[fit], truth[fit])
            found[held] = fitted.decision_function(rows[held])
    return found

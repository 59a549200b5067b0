"""Intervals for a predicted quality that hold whatever the regressor is worth.

CV+: every calibration row i has the residual R_i of the model mu_(-k(i)) that was fitted without
its fold. For a new row x the interval reaches from the alpha quantile of mu_(-k(i))(x) - R_i to the
1 - alpha quantile of mu_(-k(i))(x) + R_i. If new rows are exchangeable with calibration rows it
covers with probability at least 1 - 2 alpha - 1/n, in practice about 1 - alpha.

Rows of one group (frames of one drive) are not exchangeable with rows of another group, groups are
with each other. So each of G groups weighs 1 / (G + 1), shared among its rows, and the last
1 / (G + 1) lies at infinity; for groups of one row that is the ceil((n + 1)(1 - alpha))-th value.

Source: Barber, Candes, Ramdas & Tibshirani 2021, "Predictive inference with the jackknife+", eq. 8
(arXiv 1905.02928); Lee, Barber & Willett 2023, "Distribution-free inference with hierarchical
data" (arXiv 2306.06342) for the weights; Vovk et al. 2003 for one calibration per slice (Mondrian).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from conceptseg.study.bottleneck.regress import (
    CLIP,
    Features,
    Fold,
    Search,
    from_log_odds,
    log_odds,
    nested,
    out_of_fold,
)

BLOCK = 512
"""Rows whose residuals are held at a time."""
EVERYTHING = -1
"""The slice that stands for all rows."""


@dataclass(frozen=True)
class Calibration:
    """Residuals [n] by fold [n] and slice [n], with each row's group [n] as a number."""

    residual: np.ndarray
    fold: np.ndarray
    slice: np.ndarray
    group: np.ndarray

    def usable(self, alpha: float) -> list[int]:
        """The slices whose groups are many enough for a finite interval of their own."""
        return [
            int(s)
            for s in np.unique(self.slice)
            if enough(len(np.unique(self.group[self.slice == s])), alpha)
        ]


def enough(groups: int, alpha: float) -> bool:
    """Whether the 1 - alpha quantile of so many groups is finite: alpha (G + 1) >= 1."""
    return alpha * (groups + 1) >= 1 - 1e-9


def interval(
    predictions: np.ndarray, slices: np.ndarray, calibration: Calibration, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """CV+ intervals for new rows: predictions [m, folds] of each fold's model -> ends [m], [m].

    A row whose slice is usable is calibrated on that slice alone, the others on all rows. Infinite
    where even all rows are too few.
    """
    low, high = np.full(len(predictions), -np.inf), np.full(len(predictions), np.inf)
    own = np.where(np.isin(slices, calibration.usable(alpha)), slices, EVERYTHING)
    for place in np.unique(own):
        kept = (calibration.slice == place) | (place == EVERYTHING)
        weight = weights(calibration.group[kept])
        residual, fold = calibration.residual[kept], calibration.fold[kept]
        rows = np.flatnonzero(own == place)
        for block in np.array_split(rows, 1 + len(rows) // BLOCK):
            centre = predictions[np.ix_(block, fold)]
            high[block] = quantile(centre + residual, weight, 1 - alpha)
            low[block] = -quantile(residual - centre, weight, 1 - alpha)
    return low, high


def weights(group: np.ndarray) -> np.ndarray:
    """Each row's weight: groups share alike, and one more group's share is left for infinity."""
    _, place, count = np.unique(group, return_inverse=True, return_counts=True)
    return np.asarray(1 / ((len(count) + 1) * count[place]))


def quantile(values: np.ndarray, weight: np.ndarray, level: float) -> np.ndarray:
    """The smallest of values [m, n] below or at which `level` of the weight [n] lies, [m].

    Infinity where all of it together is less.
    """
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, 1)
    reached = np.cumsum(weight[order], axis=1) >= level - 1e-12
    first = np.take_along_axis(ranked, reached.argmax(1)[:, None], 1)[:, 0]
    return np.where(reached.any(1), first, np.inf)


@dataclass(frozen=True)
class Slicing:
    """Slices by the edges of one number; the slice of x is how many edges lie at or below it."""

    name: str
    edges: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray, name: str, parts: int = 3) -> Slicing:
        """As many parts of equally many values, fewer where values are equal."""
        edges = np.quantile(values, np.arange(1, parts) / parts)
        kept = [float(e) for e in np.unique(edges) if values.min() < e <= values.max()]
        return cls(name, tuple(kept))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.searchsorted(np.array(self.edges), values, side="right"))

    def names(self) -> tuple[str, ...]:
        ends = ["", *(f"{edge:.3g}" for edge in self.edges), ""]
        names = []
        for low, high in zip(ends[:-1], ends[1:], strict=True):
            text = f"{low} to {high}" if low and high else f"below {high}" if high else f"{low} on"
            names.append(f"{self.name} {text}" if low or high else "all images")
        return tuple(names)


def quality_ends(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends in log odds as qualities; an end at or beyond the clip means 0 or 1."""
    floor, ceiling = log_odds(np.array([0.0, 1.0]))
    with np.errstate(over="ignore"):
        down = np.where(low <= floor + 1e-9, 0.0, from_log_odds(np.maximum(low, floor - 1)))
        up = np.where(high >= ceiling - 1e-9, 1.0, from_log_odds(np.minimum(high, ceiling + 1)))
    # A quality below 0.01 was fitted as 0.01, so an upper end there is no end below it.
    return np.minimum(down, 1 - CLIP), np.maximum(up, CLIP)


def calibrated(
    folds: Sequence[Fold],
    features: Features,
    quality: np.ndarray,
    slices: np.ndarray,
    groups: np.ndarray,
) -> Calibration:
    """What CV+ keeps of the calibration rows, in log odds."""
    fold = np.zeros(len(features), dtype=np.int64)
    for number, one in enumerate(folds):
        fold[one.held] = number
    residual = np.abs(log_odds(quality) - out_of_fold(folds, features))
    return Calibration(residual, fold, slices, groups)


def left_out_intervals(
    search: Search,
    folds: Sequence[Fold],
    features: Features,
    quality: np.ndarray,
    slices: np.ndarray,
    groups: np.ndarray,
    fold_groups: np.ndarray,
    *,
    alpha: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Ends [n], [n] of every image's interval, calibrated without its fold.

    For an image of fold k the other folds j are calibrated by models fitted without j and k, so
    each pair of folds takes one more nested fit; the image is predicted by the same models.
    Calibration counts `groups` [n]; the inner folds of a fit do not cut `fold_groups` [n].
    """
    target, two = log_odds(quality), list(combinations(range(len(folds)), 2))
    outer = [
        (np.setdiff1d(folds[a].fit, folds[b].held), np.union1d(folds[a].held, folds[b].held))
        for a, b in two
    ]
    done = nested([search] * len(two), features, target, fold_groups, outer)
    pairs = {
        pair: one.fitted for (a, b), one in zip(two, done, strict=True) for pair in ((a, b), (b, a))
    }
    low, high = np.zeros(len(features)), np.zeros(len(features))
    for k, fold in enumerate(folds):
        others = [j for j in range(len(folds)) if j != k]
        rows = np.concatenate([folds[j].held for j in others])
        number = np.repeat(np.arange(len(others)), [len(folds[j].held) for j in others])
        known = np.concatenate([pairs[k, j].predict(features.rows[folds[j].held]) for j in others])
        kept = Calibration(np.abs(target[rows] - known), number, slices[rows], groups[rows])
        new = np.stack([pairs[k, j].predict(features.rows[fold.held]) for j in others], 1)
        low[fold.held], high[fold.held] = interval(new, slices[fold.held], kept, alpha)
    return quality_ends(low, high)

"""Whether the intervals hold: each image's interval, from models that never saw its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from conceptseg.study.bottleneck.conformal import Calibration, interval
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
    target = log_odds(quality)
    pairs = {}
    for a, b in combinations(range(len(folds)), 2):
        fit = np.setdiff1d(folds[a].fit, folds[b].held)
        held = np.union1d(folds[a].held, folds[b].held)
        (both,) = nested(search, features, target, fold_groups, [(fit, held)])
        pairs[a, b] = pairs[b, a] = both.fitted
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

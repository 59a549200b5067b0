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

from dataclasses import dataclass

import numpy as np

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

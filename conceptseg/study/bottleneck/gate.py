"""Whether a new image looks like those that a predictor was fitted on, to layer and confidence.

Two distances are taken, by principal components. Near: the mean distance to the five
nearest fitted images, in the first components scaled to unit variance; it notices
places where no image has been. Far: Mahalanobis' distance with all that the components hold and,
beside them, what they do not; it notices images that break the rules which all known ones keep. An
image beyond the 1 - gamma/2 conformal quantile of either is outside, and gets no interval: an
interval promises nothing for images of another kind. Both quantiles are of distances out of fold:
in components that were fitted on it a row lies nearer than a new one does. Where groups are too few
for that quantile the largest known distance is the limit: rather a few like images rejected than
a gate that is open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from conceptseg.study.bottleneck.conformal import quantile, weights
from conceptseg.study.bottleneck.maps import principal

NEIGHBOURS = 5
COMPONENTS = 20
"""Components in which neighbours are looked for."""
MOST = 100
"""Components that count by their own variance in Mahalanobis' distance."""
FOLDS = 5
LIMITS = 4
"""Distances with a limit of their own: near and far, of the layer and of the confidence."""
BLOCK = 1024
"""Rows whose distances are held at a time."""


@dataclass(frozen=True)
class Space:
    """Principal components of rows [n, d], each column brought to unit variance.

    `offset` and `scale` [d] standardise, `vectors` [d, r] are the components, `variance` [r] theirs
    and `rest` the mean variance of each direction beside them, at least 0.001.

    Source: Tipping & Bishop 1999, "Probabilistic principal component analysis".
    """

    offset: np.ndarray
    scale: np.ndarray
    vectors: np.ndarray
    variance: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, most: int | None = None) -> Space:
        """The space of rows [n, d], of `most` components or of half as many as there are rows."""
        rows = np.asarray(rows, np.float64)
        offset, spread = rows.mean(0), rows.std(0)
        scale = np.where(spread > 0, spread, 1.0)
        values, vectors = principal((rows - offset) / scale)
        variance = values**2 / len(rows)
        most = len(rows) // 2 if most is None else most
        kept = min(MOST, max(1, most), int((variance > 1e-9 * variance[0]).sum()))
        beside = max(rows.shape[1] - kept, 1)
        rest = max(float(variance[kept:].sum()) / beside, 1e-3)
        floor = np.maximum(variance[:kept], rest)
        return cls(offset, scale, vectors[:kept].T, floor, np.array(rest))

    def split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [m, d] along the components [m, r], and the square of what is left [m]."""
        scaled = (np.asarray(rows, np.float64) - self.offset) / self.scale
        along = scaled @ self.vectors
        return along, np.maximum((scaled**2).sum(1) - (along**2).sum(1), 0)

    def points(self, rows: np.ndarray) -> np.ndarray:
        """Rows as points [m, c] of unit variance, in the components that neighbours lie in."""
        return np.asarray((self.split(rows)[0] / np.sqrt(self.variance))[:, :COMPONENTS])

    def far(self, rows: np.ndarray) -> np.ndarray:
        """Mahalanobis' distance [m] of rows to the fitted ones' mean."""
        along, left = self.split(rows)
        return np.sqrt((along**2 / self.variance).sum(1) + left / self.rest)


@dataclass(frozen=True)
class Gate:
    """`known` [n, c]: the fitted rows as points; `limits` [2] of the near and the far distance."""

    space: Space
    known: np.ndarray
    limits: np.ndarray

    @classmethod
    def of(cls, pooled: np.ndarray, groups: np.ndarray, gamma: float) -> Gate:
        """A gate around rows [n, d] that rejects a share gamma, at most, of images like them.

        Groups [n] weigh alike; where they are too few for a finite quantile the share is that of
        :func:`share`.
        """
        pooled = np.asarray(pooled, np.float64)
        names, place = np.unique(groups, return_inverse=True)
        count = min(FOLDS, len(names))
        folds = [place % count == fold for fold in range(count)] if count > 1 else []
        # A limit says nothing of a space of more components than those that it was taken in.
        most = min(int((~held).sum()) for held in folds) // 2 if folds else None
        unseen = np.full((2, len(pooled)), np.inf)
        for held in folds:
            unseen[:, held] = cls._around(pooled[~held], most).distances(pooled[held])
        limits = [_limit(each, groups, gamma / 2) for each in unseen]
        return replace(cls._around(pooled, most), limits=np.array(limits))

    @classmethod
    def _around(cls, rows: np.ndarray, most: int | None) -> Gate:
        """The gate around rows [n, d], its limits still one."""
        space = Space.of(rows, most)
        return cls(space, space.points(rows), np.ones(2))

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """Near and far distance [2, m] of new rows [m, d]."""
        return np.stack([_nearest(self.space.points(rows), self.known), self.space.far(rows)])

    def distance(self, pooled: np.ndarray) -> np.ndarray:
        """Of new rows [m, d] the larger of both distances, each by its limit: beyond 1 is out."""
        return np.asarray((self.distances(pooled) / self.limits[:, None]).max(0))


@dataclass(frozen=True)
class Gates:
    """One gate for what the layer holds and one for what the network says of itself."""

    layer: Gate
    confidence: Gate

    @classmethod
    def of(
        cls, pooled: np.ndarray, confidence: np.ndarray, groups: np.ndarray, gamma: float
    ) -> Gates:
        """Gates that reject a share gamma, at most, of images like those given."""
        return cls(Gate.of(pooled, groups, gamma / 2), Gate.of(confidence, groups, gamma / 2))

    def distance(self, pooled: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """The larger of both gates' distances [m]; beyond 1 is outside."""
        return np.maximum(self.layer.distance(pooled), self.confidence.distance(confidence))


def share(groups: int, gamma: float) -> float:
    """What share of like images :class:`Gates` reject, at most: gamma, or what so few allow.

    Each of the four distances rejects up to one in groups + 1, because images of one group may all
    lie beyond a limit. On average over gates, each around other groups: one of them may reject
    more.
    """
    return max(gamma, min(1.0, LIMITS / (groups + 1)))


def _limit(distance: np.ndarray, groups: np.ndarray, gamma: float) -> float:
    """The conformal quantile, over groups, of distances [n]; the largest where that is infinite."""
    limit = float(quantile(distance[None], weights(groups), 1 - gamma)[0])
    return limit if np.isfinite(limit) else float(distance.max())


def _nearest(new: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean distance of each new point [m, c] to its nearest known points, [m]."""
    count = min(NEIGHBOURS, len(known))
    distance = np.zeros(len(new))
    for start in range(0, len(new), BLOCK):
        part = slice(start, start + BLOCK)
        square = (new[part] ** 2).sum(1)[:, None] + (known**2).sum(1) - 2 * new[part] @ known.T
        nearest = np.sort(np.partition(square, count - 1, axis=1)[:, :count], axis=1)
        distance[part] = np.sqrt(np.maximum(nearest, 0)).mean(1)
    return distance

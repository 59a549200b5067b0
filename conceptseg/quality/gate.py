"""Whether a new image looks like those that a predictor was fitted on, to layer and confidence.

Two distances are taken, by principal components. Near: the mean distance to the five
nearest fitted images of other groups, in the first components scaled to unit variance; it notices
places where no image has been. Far: Mahalanobis' distance with all that the components hold and,
beside them, what they do not; it notices images that break the rules which all known ones keep. An
image beyond the 1 - gamma/2 conformal quantile of either is outside, and gets no interval: an
interval promises nothing for images of another kind. Where images are too few for that quantile the
largest known distance is the limit: rather a few like images turned away than a gate that is open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conceptseg.quality.conformal import quantile, weights
from conceptseg.quality.maps import principal

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
    def of(cls, rows: np.ndarray) -> Space:
        rows = np.asarray(rows, np.float64)
        offset, spread = rows.mean(0), rows.std(0)
        scale = np.where(spread > 0, spread, 1.0)
        values, vectors = principal((rows - offset) / scale)
        variance = values**2 / len(rows)
        kept = min(MOST, max(1, len(rows) // 2), int((variance > 1e-9 * variance[0]).sum()))
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
        found: np.ndarray = (self.split(rows)[0] / np.sqrt(self.variance))[:, :COMPONENTS]
        return found

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
        """A gate around rows [n, d] that turns away a share gamma, at most, of images like them.

        Groups [n] weigh alike; where they are too few for a finite quantile, images do, and where
        those are too few as well the share is that of :func:`share`.
        """
        pooled = np.asarray(pooled, np.float64)
        space = Space.of(pooled)
        known = space.points(pooled)
        near = _nearest(known, known, (groups, groups))
        far = np.full(len(pooled), np.inf)
        names, place = np.unique(groups, return_inverse=True)
        for fold in range(FOLDS if len(names) > 1 else 0):
            held = place % FOLDS == fold
            if held.any() and not held.all():
                far[held] = Space.of(pooled[~held]).far(pooled[held])
        limits = [_limit(each, groups, gamma / 2) for each in (near, far)]
        return cls(space, known, np.array(limits))

    def distance(self, pooled: np.ndarray) -> np.ndarray:
        """Of new rows [m, d] the larger of both distances, each by its limit: beyond 1 is out."""
        points = self.space.points(pooled)
        near = _nearest(points, self.known)
        found: np.ndarray = np.maximum(
            near / self.limits[0], self.space.far(pooled) / self.limits[1]
        )
        return found


@dataclass(frozen=True)
class Gates:
    """One gate for what the layer holds and one for what the network says of itself."""

    layer: Gate
    confidence: Gate

    @classmethod
    def of(
        cls, pooled: np.ndarray, confidence: np.ndarray, groups: np.ndarray, gamma: float
    ) -> Gates:
        """Gates that turn away a share gamma, at most, of images like those given."""
        return cls(Gate.of(pooled, groups, gamma / 2), Gate.of(confidence, groups, gamma / 2))

    def distance(self, pooled: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """The larger of both gates' distances [m]; beyond 1 is outside."""
        return np.maximum(self.layer.distance(pooled), self.confidence.distance(confidence))


def share(images: int, gamma: float) -> float:
    """What share of like images :class:`Gates` turn away, at most: gamma, or what so few allow.

    Each of the four distances turns away at least one in images + 1.
    """
    return max(gamma, min(1.0, LIMITS / (images + 1)))


def _limit(distance: np.ndarray, groups: np.ndarray, gamma: float) -> float:
    """The conformal quantile of finite distances [n], of groups if they are enough, else of images.

    The largest distance where the quantile is infinite; infinite if no distance is finite.
    """
    finite = distance[np.isfinite(distance)]
    if not len(finite):
        return float("inf")
    for counted in (groups[np.isfinite(distance)], np.arange(len(finite))):
        found = float(quantile(finite[None], weights(counted), 1 - gamma)[0])
        if np.isfinite(found):
            return found
    return float(finite.max())


def _nearest(
    new: np.ndarray, known: np.ndarray, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Mean distance of each new point [m, c] to its nearest known points, [m].

    With groups of both, points of one group are not each other's neighbours.
    """
    count = min(NEIGHBOURS, len(known))
    found = np.zeros(len(new))
    for start in range(0, len(new), BLOCK):
        part = slice(start, start + BLOCK)
        square = (new[part] ** 2).sum(1)[:, None] + (known**2).sum(1) - 2 * new[part] @ known.T
        if groups is not None:
            square[groups[0][part, None] == groups[1]] = np.inf
        nearest = np.sort(np.partition(square, count - 1, axis=1)[:, :count], axis=1)
        found[part] = np.sqrt(np.maximum(nearest, 0)).mean(1)
    return found

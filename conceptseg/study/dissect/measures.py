"""Overlap of units with concepts, at any threshold, read off joint counts.

With q the share of pixels at which a unit is active, p that of a concept, and IoU their
intersection over union, all among the pixels on which the concept's category is annotated:

    ceiling       = min(q, p) / max(q, p)             the largest IoU that these sizes allow
    normalised    = IoU / ceiling                     1 where one mask holds the other
    chance        = q p / (q + p - q p)               the IoU of independent masks
    above chance  = (IoU - chance) / (1 - chance)

Neither IoU nor the normalised one can be compared between concepts of different sizes. The IoU of
independent masks grows with their sizes; the normalised one is 1 for any unit that is active on
half of the image and covers a small object with it. What is above chance is 0 for independent
masks of any size and 1 for equal ones alone, so concepts and thresholds are chosen by it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from conceptseg.study.dissect.vocabulary import Vocabulary

Array = np.ndarray


@dataclass(frozen=True)
class Overlaps:
    """Pixels in common, of the unit, of the concept, and annotated: arrays that broadcast."""

    shared: Array
    active: Array
    concept: Array
    annotated: Array

    def each(self, function: Callable[[Array], Array]) -> "Overlaps":
        """What a function makes of each of the four arrays, all of one shape."""
        parts = np.broadcast_arrays(self.shared, self.active, self.concept, self.annotated)
        return Overlaps(*map(function, parts))

    def __add__(self, other: "Overlaps") -> "Overlaps":
        """Those of the pixels of both."""
        names = ("shared", "active", "concept", "annotated")
        return Overlaps(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def iou(self) -> Array:
        """Intersection over union; 0 where both are empty."""
        return _ratio(self.shared, self.active + self.concept - self.shared)

    @property
    def ceiling(self) -> Array:
        """The largest IoU that the sizes allow, in [0, 1]."""
        small, large = np.minimum(self.active, self.concept), np.maximum(self.active, self.concept)
        return _ratio(small, large)

    @property
    def normalised(self) -> Array:
        """IoU / ceiling, in [0, 1]; 0 where either is empty."""
        return _ratio(self.iou, self.ceiling)

    @property
    def chance(self) -> Array:
        """The IoU of independent masks of these sizes."""
        both = _ratio(np.asarray(self.active, float) * self.concept, self.annotated)
        return _ratio(both, self.active + self.concept - both)

    @property
    def above_chance(self) -> Array:
        """(IoU - chance) / (1 - chance): 1 for equal masks, 0 for independent ones."""
        chance = self.chance
        room = 1 - chance
        return np.where(room > 1e-9, _ratio(self.iou - chance, np.maximum(room, 1e-9)), 0.0)


def _ratio(above: Array, below: Array, empty: float = 0.0) -> Array:
    below = np.asarray(below, dtype=np.float64)
    ratio = np.asarray(above, np.float64) / np.where(below > 0, below, 1)
    return np.where(below > 0, ratio, empty)


def above(counts: Array) -> Array:
    """Of counts [u, b, ...] the sums beyond each edge k (bins k + 1 and up), [u, b - 1, ...]."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:]


def choose_edges(mass: Array, quantiles: tuple[float, ...], low: bool = False) -> Array:
    """The edge whose active share is nearest to each quantile, int [u, q], from mass [u, b].

    Active is above the edge or, for the low tail, at or below it. Of edges alike the outermost is
    taken; an edge beyond which nothing or everything lies only where there is no other.
    """
    total = mass.sum(1, keepdims=True)
    active = above(mass) / total
    if low:
        active = 1 - active
    idle = (active <= 0) | (active >= 1)
    distance = np.abs(active[:, None, :] - np.asarray(quantiles)[:, None]) + 9.0 * idle[:, None]
    if low:
        return np.argmin(distance, axis=2)
    return active.shape[1] - 1 - np.argmin(distance[:, :, ::-1], axis=2)


def overlaps(counts: Array, edges: Array, vocabulary: Vocabulary, low: bool = False) -> Overlaps:
    """Overlaps [u, q, l] of counts [u, b, s] with units thresholded at edges int [u, q]."""
    beyond = np.take_along_axis(above(counts), edges[:, :, None], axis=1)
    total = counts.sum(1)[:, None]
    shared, active = vocabulary.per_concept(total - beyond if low else beyond)
    concept, annotated = vocabulary.per_concept(total)
    return Overlaps(shared, active, concept, annotated)


def auroc(counts: Array, vocabulary: Vocabulary) -> Array:
    """Chance that a unit is higher on a concept's pixel than on another annotated one, [u, l].

    Values in one bin count as equal (half), so the error is at most half of the mass that shares
    a bin. nan where the concept covers nothing or everything.
    """
    held, known = vocabulary.per_concept(counts)
    rest = known - held
    higher = np.concatenate([above(held), np.zeros_like(held[:, :1])], axis=1)
    wins = (rest * (higher + 0.5 * held)).sum(1)
    pairs = held.sum(1).astype(float) * rest.sum(1)
    return _ratio(wins, pairs, np.nan)


def average_precision(counts: Array, vocabulary: Vocabulary) -> Array:
    """Mean precision over a concept's pixels, from the highest bin down, [u, l].

    Sum over bins of (recall gained) x (precision when the bin is let in); nan without pixels of
    the concept. Chance is the concept's share of the annotated pixels.
    """
    held, known = vocabulary.per_concept(counts)
    hits = np.cumsum(held[:, ::-1], axis=1)
    seen = np.cumsum(known[:, ::-1], axis=1)
    gained = (held[:, ::-1] * _ratio(hits, seen)).sum(1)
    return _ratio(gained, held.sum(1), np.nan)

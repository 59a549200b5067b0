"""How often each unit's value falls into each bin together with each concept, mergeable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import technique


@technique(family="statistic", source="contingency tables: sums of counts")
@dataclass(frozen=True)
class JointCounts:
    """Whole numbers [u, b, s]: pixels at which unit u's value lies in bin b and slot s holds.

    Every threshold at a bin's edge, and every measure of overlap at it, is read off these counts
    afterwards; nothing has to be run again. Merging is addition. `None` stands for the counts of
    no sample at all, so that an empty statistic needs no shape.
    """

    counts: np.ndarray | None = None

    @classmethod
    def empty(cls) -> JointCounts:
        return cls()

    @classmethod
    def of(cls, bins: np.ndarray, slots: np.ndarray, b: int, s: int) -> JointCounts:
        """Counts of bins int [u, m] in 0..b-1 and slots int [g, m] in 0..s-1, g of them a pixel."""
        counts = np.zeros((len(bins), b * s), dtype=np.int64)
        for unit, own in enumerate(bins.astype(np.int64)):
            for row in slots:
                counts[unit] += np.bincount(own * s + row, minlength=b * s)
        return cls(counts.reshape(len(bins), b, s))

    def merge(self, other: JointCounts) -> JointCounts:
        if self.counts is None or other.counts is None:
            return other if self.counts is None else self
        return JointCounts(self.counts + other.counts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {} if self.counts is None else {"counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> JointCounts:
        return cls(arrays.get("counts"))

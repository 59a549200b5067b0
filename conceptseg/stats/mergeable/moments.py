"""Count, mean and variance of rows, mergeable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import technique


@technique(family="statistic", source="Chan, Golub & LeVeque 1983, eq. 2.1")
@dataclass(frozen=True)
class Moments:
    """Count, mean [d] and sum of squared deviations [d] of rows, float64.

    Merging is the pairwise update, which loses no digits when the mean is far from zero.

    Source: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1.
    """

    count: int
    mean: np.ndarray
    deviations: np.ndarray

    @classmethod
    def empty(cls, size: int) -> Moments:
        return cls(0, np.zeros(size), np.zeros(size))

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Moments of `rows` [m, d]."""
        rows = np.asarray(rows, dtype=np.float64)
        if not len(rows):
            return cls.empty(rows.shape[1])
        mean = rows.mean(0)
        return cls(len(rows), mean, ((rows - mean) ** 2).sum(0))

    def merge(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return self
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        cross = shift**2 * (self.count * other.count / count)
        return Moments(count, mean, self.deviations + other.deviations + cross)

    @property
    def variance(self) -> np.ndarray:
        """Variance [d] over all rows (divided by the count); zero for an empty set."""
        return self.deviations / max(self.count, 1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {
            "count": np.array(self.count, dtype=np.int64),
            "mean": self.mean,
            "deviations": self.deviations,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Moments:
        return cls(int(arrays["count"]), arrays["mean"], arrays["deviations"])

"""Named arrays that are summed over samples, mergeable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from conceptseg.catalogue import technique


@technique(family="statistic", source="sums of arrays, by name")
@dataclass(frozen=True)
class Sums:
    """Arrays by name; merging adds those of one name and keeps those that only one side has.

    Whole numbers add up exactly; sums of float64 depend on the order of merging in their last
    digits alone.
    """

    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Sums:
        return cls()

    def merge(self, other: Sums) -> Sums:
        merged = dict(self.values)
        for name, value in other.values.items():
            merged[name] = merged[name] + value if name in merged else value
        return Sums(merged)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in self.values.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sums:
        return cls(dict(arrays))

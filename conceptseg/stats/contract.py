"""What a statistic of a data set promises: it merges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class Statistic(Protocol):
    """Something known of a set of samples that merges with the same of another set.

    Instances are immutable. `merge` is associative and commutative, `empty()` is its identity,
    and any partition of the samples gives what one pass over all of them gives.
    """

    def merge(self, other: Self) -> Self: ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays (no objects), from which `from_arrays` rebuilds the statistic exactly."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self: ...

"""Mean amplitude of images at each spatial frequency, mergeable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import technique


@technique(family="statistic", source="sums; amplitude template of Fel et al. 2023, section 3")
@dataclass(frozen=True)
class Spectrum:
    """Number of images, and the sum of |rfft2| over them, float64 [c, h, w // 2 + 1].

    The transform is not normalised, so amplitudes are those that `irfft2` turns back into images
    of the same values. Merging is addition.
    """

    count: int
    total: np.ndarray

    @classmethod
    def empty(cls, channels: int, h: int, w: int) -> Spectrum:
        return cls(0, np.zeros((channels, h, w // 2 + 1)))

    @classmethod
    def of(cls, images: np.ndarray) -> Spectrum:
        """Of images [n, c, h, w]."""
        images = np.asarray(images, dtype=np.float64)
        return cls(len(images), np.abs(np.fft.rfft2(images)).sum(0))

    def merge(self, other: Spectrum) -> Spectrum:
        return Spectrum(self.count + other.count, self.total + other.total)

    @property
    def amplitude(self) -> np.ndarray:
        """Mean amplitude [c, h, w // 2 + 1]; zeros of no image."""
        return self.total / max(self.count, 1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"count": np.array(self.count, dtype=np.int64), "total": self.total}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Spectrum:
        return cls(int(arrays["count"]), arrays["total"])

"""Regions: which pixels of an image a target is read on.

Told from the prediction, from labels, from geometry or from a given mask, and combined by `&`,
`|` and `~`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from conceptseg.data.labels import IGNORE
from conceptseg.errors import InputError
from conceptseg.network.label_map import label_map

if TYPE_CHECKING:
    import numpy as np


class Region(ABC):
    """A set of pixels of each image, told from its prediction and, for some, its labels.

    Regions combine by `&`, `|` and `~`. Ignored pixels (label -1) are in no region that is
    told from labels; `~Labelled(c)`, a plain complement, does contain them.
    """

    @property
    def needs_labels(self) -> bool:
        return False

    def mask(
        self, logits: Tensor, labels: Tensor | None = None, prediction: Tensor | None = None
    ) -> Tensor:
        """Booleans [n, h, w] for logits [n, k, h, w] and labels int64 [n, h, w].

        `prediction` is the logits' :func:`label_map`, where it is known already: of
        hundreds of classes it costs more than all their regions.

        Raises InputError if labels are needed and missing or of another size, or if the region
        does not lie in the image.
        """
        if self.needs_labels and labels is None:
            raise InputError(f"region {self} needs labels and the images have none")
        prediction = label_map(logits) if prediction is None else prediction
        if labels is not None and labels.shape != prediction.shape:
            raise InputError(
                f"labels of shape {list(labels.shape)} for logits of shape {list(logits.shape)}; "
                f"expected {list(prediction.shape)}"
            )
        return self.of(prediction, labels)

    @abstractmethod
    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        """Booleans [n, h, w] from the predicted classes [n, h, w] and labels, checked before."""

    def __and__(self, other: Region) -> Region:
        return _Both(self, other)

    def __or__(self, other: Region) -> Region:
        return _Either(self, other)

    def __invert__(self) -> Region:
        return _Outside(self)


@dataclass(frozen=True)
class _Both(Region):
    first: Region
    second: Region

    @property
    def needs_labels(self) -> bool:
        return self.first.needs_labels or self.second.needs_labels

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return self.first.of(prediction, labels) & self.second.of(prediction, labels)


@dataclass(frozen=True)
class _Either(_Both):
    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return self.first.of(prediction, labels) | self.second.of(prediction, labels)


@dataclass(frozen=True)
class _Within(Region):
    """A region made from another one."""

    region: Region

    @property
    def needs_labels(self) -> bool:
        return self.region.needs_labels


@dataclass(frozen=True)
class _Outside(_Within):
    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return ~self.region.of(prediction, labels)


@dataclass(frozen=True)
class Everything(Region):
    """All pixels."""

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return torch.ones_like(prediction, dtype=torch.bool)


@dataclass(frozen=True)
class Predicted(Region):
    """Pixels where the class has the largest logit."""

    class_id: int

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return prediction == self.class_id


class _FromLabels(Region):
    @property
    def needs_labels(self) -> bool:
        return True

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        return self.compare(prediction, labels)

    @abstractmethod
    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Valid(_FromLabels):
    """Pixels with a label, that is, not ignored ones."""

    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return labels != IGNORE


@dataclass(frozen=True)
class Correct(_FromLabels):
    """Pixels whose prediction is their label."""

    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return (labels != IGNORE) & (prediction == labels)


@dataclass(frozen=True)
class Labelled(_FromLabels):
    """Pixels whose label is the class."""

    class_id: int

    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return (labels != IGNORE) & (labels == self.class_id)


@dataclass(frozen=True)
class TruePositive(Labelled):
    """Pixels of the class that are predicted as such."""

    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return super().compare(prediction, labels) & (prediction == self.class_id)


@dataclass(frozen=True)
class FalseNegative(Labelled):
    """Pixels of the class that are predicted as another."""

    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return super().compare(prediction, labels) & (prediction != self.class_id)


@dataclass(frozen=True)
class FalsePositive(Labelled):
    """Pixels predicted as the class whose label is another one, not the ignored label."""

    def compare(self, prediction: Tensor, labels: Tensor) -> Tensor:
        other = (labels != IGNORE) & (labels != self.class_id)
        return other & (prediction == self.class_id)


@dataclass(frozen=True)
class Box(Region):
    """Pixels with y0 <= y < y1 and x0 <= x < x1."""

    y0: int
    x0: int
    y1: int
    x1: int

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        h, w = prediction.shape[1:]
        if not (0 <= self.y0 < self.y1 <= h and 0 <= self.x0 < self.x1 <= w):
            raise InputError(f"region {self} does not lie in an image of {h} x {w} pixels")
        mask = torch.zeros_like(prediction, dtype=torch.bool)
        mask[:, self.y0 : self.y1, self.x0 : self.x1] = True
        return mask


@dataclass(frozen=True)
class Pixel(Region):
    """One pixel."""

    y: int
    x: int

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return Box(self.y, self.x, self.y + 1, self.x + 1).of(prediction, labels)


@dataclass(frozen=True, eq=False)
class UserMask(Region):
    """A given mask: booleans [h, w] for all images alike, or [n, h, w]."""

    given: Tensor

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        if self.given.dtype != torch.bool or self.given.dim() not in (2, 3):
            raise InputError(
                f"a user mask holds booleans [h, w] or [n, h, w], got {self.given.dtype} "
                f"{list(self.given.shape)}"
            )
        if self.given.shape != prediction.shape[-self.given.dim() :]:
            raise InputError(
                f"user mask of shape {list(self.given.shape)} for images of "
                f"{list(prediction.shape)}"
            )
        return self.given.to(prediction.device).expand(prediction.shape).clone()


@dataclass(frozen=True)
class Boundary(_Within):
    """Pixels of a band along a region's edge, up to `radius_px` from it on either side.

    A pixel is in the band if some pixel of the other kind (inside, outside) lies within
    `radius_px` (Euclidean, between pixel centres). The image's frame is no edge.
    """

    radius_px: float = 3.0

    def __post_init__(self) -> None:
        if not self.radius_px >= 1:
            raise InputError(f"boundary radius_px is at least 1, got {self.radius_px}")

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        return _per_image(self.region.of(prediction, labels), self._band)

    def _band(self, mask: np.ndarray) -> np.ndarray:
        from scipy.ndimage import distance_transform_edt

        if mask.all() or not mask.any():
            return mask & False
        distance = distance_transform_edt(mask) + distance_transform_edt(~mask)
        return distance <= self.radius_px


@dataclass(frozen=True)
class Component(_Within):
    """One connected part of a region: its largest, its smallest, or the one with a pixel (y, x).

    Pixels that share a side or a corner are connected. Of equal sizes, the part met first row by
    row is taken. Empty where the region is, or where (y, x) is not in it.
    """

    which: Literal["largest", "smallest"] | tuple[int, int] = "largest"

    def of(self, prediction: Tensor, labels: Tensor | None) -> Tensor:
        if not isinstance(self.which, str):
            Pixel(*self.which).of(prediction, labels)
        return _per_image(self.region.of(prediction, labels), self._part)

    def _part(self, mask: np.ndarray) -> np.ndarray:
        import numpy as np
        from scipy.ndimage import label

        parts, count = label(mask, structure=np.ones((3, 3)))
        if count == 0:
            return mask
        if isinstance(self.which, str):
            sizes = np.bincount(parts.ravel())[1:]
            chosen = 1 + (sizes.argmax() if self.which == "largest" else sizes.argmin())
        else:
            chosen = parts[self.which]
        return (parts == chosen) & mask


def _per_image(masks: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    changed = [torch.from_numpy(change(mask)) for mask in masks.cpu().numpy()]
    return torch.stack(changed).to(masks.device) if changed else masks


def distance_to(masks: Tensor) -> Tensor:
    """How far pixels are from the nearest of a mask, in pixels: float32 [n, h, w] of masks.

    Euclidean, between pixels' centres; 0 on the mask, infinite where a mask is empty.
    """

    def away(mask: np.ndarray) -> np.ndarray:
        import numpy as np
        from scipy.ndimage import distance_transform_edt

        if not mask.any():
            return np.full(mask.shape, np.inf, np.float32)
        return np.asarray(distance_transform_edt(~mask), np.float32)

    return _per_image(masks, away)

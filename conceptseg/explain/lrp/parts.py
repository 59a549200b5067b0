"""Parts of a layer's relevance: of a channel, a direction, a region."""

from collections.abc import Sequence

import torch
from torch import Tensor


def channel(relevance: Tensor, unit: int | Sequence[int]) -> Tensor:
    """The part of a layer's relevance [n, u, y, x] that belongs to a unit, or one unit an image."""
    part = torch.zeros_like(relevance)
    if isinstance(unit, int):
        part[:, unit] = relevance[:, unit]
    else:
        rows = torch.arange(len(relevance), device=relevance.device)
        units = torch.as_tensor(list(unit), device=relevance.device)
        part[rows, units] = relevance[rows, units]
    return part


def direction(relevance: Tensor, worth: Tensor, vector: Tensor) -> Tensor:
    """The part that belongs to a direction v [u] of the layer: v (A . v) R / A.

    A is what relevance is a share of (:meth:`Run.worth`), R / A what a unit of it counts for, and
    v (A . v) its part along v. For the vector of one channel it is that channel's relevance. v is
    brought to unit length.
    """
    v = (vector / vector.norm()).to(worth)[:, None, None]
    along = (worth * v).sum(1, keepdim=True) * v
    return along * quotient(relevance, worth)


def quotient(relevance: Tensor, values: Tensor) -> Tensor:
    """R / A, and 0 where A is 0: no relevance stays on what is not there."""
    there = values != 0
    return torch.where(there, relevance / values.where(there, torch.ones_like(values)), 0.0)


def within(relevance: Tensor, mask: Tensor) -> Tensor:
    """The part that lies in a region of the image, [n, h, w] of 0 to 1, at the layer's grid."""
    from torch.nn import functional as F

    share = mask[:, None].to(relevance)
    if share.shape[2:] != relevance.shape[2:]:
        share = F.adaptive_avg_pool2d(share, (relevance.shape[2], relevance.shape[3]))
    return relevance * share

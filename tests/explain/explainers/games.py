"""Networks whose score is a known function of which pixels are shown."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import torch
from torch import Tensor, nn

from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.small_models import wrapped

SCORE = Target(1, Everything())
"""Its score is the value of the game: the margin of class 1, the same at all pixels."""


class _Game(nn.Module):
    def __init__(self, value: Callable[[Tensor], Tensor]):
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        scores = self.value(x[:, 0])[:, None, None].expand(x.shape[0], *x.shape[2:])
        return torch.stack((torch.zeros_like(scores), scores), 1)


def game(value: Callable[[Tensor], Tensor]) -> SegmentationModel:
    """Class 1's logit is `value` of the image [m, h, w] -> [m] everywhere, class 0's is 0."""
    return wrapped(_Game(value), 2, 1)


def additive(weights: Tensor) -> SegmentationModel:
    """The score is sum weights x, so pixel i of an image of ones adds weights_i if it is shown."""
    return game(lambda x: (x * weights).sum((1, 2)))


def ones(h: int, w: int, n: int = 1) -> Tensor:
    return torch.ones(n, 1, h, w, dtype=torch.float64)


def weights(h: int, w: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(h, w, generator=random, dtype=torch.float64)


def shapley(value: Callable[[np.ndarray], np.ndarray], cells: int) -> np.ndarray:
    """Shapley values by their definition, from value(shown [m, cells]) -> [m]."""
    shown = (np.arange(2**cells)[:, None] >> np.arange(cells)) & 1 == 1
    values = value(shown)
    sizes = shown.sum(1)
    found = np.zeros(cells)
    for j in range(cells):
        without = np.flatnonzero(~shown[:, j])
        share = 1 / (cells * np.array([comb(cells - 1, int(s)) for s in sizes[without]]))
        found[j] = (share * (values[without + (1 << j)] - values[without])).sum()
    return found

"""Tubes whose graph is known, networks whose reach is known, and a bank of matched filters."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = ("ground", "tube")


def tube(size: int, lines, radius: float) -> np.ndarray:
    """Pixels within `radius` of any of the straight lines ((y, x), (y, x)), bool [size, size]."""
    rows, columns = np.mgrid[:size, :size]
    region = np.zeros((size, size), bool)
    for start, end in lines:
        a, b = np.array(start, float), np.array(end, float)
        along = (rows - a[0]) * (b - a)[0] + (columns - a[1]) * (b - a)[1]
        t = np.clip(along / ((b - a) ** 2).sum(), 0, 1)
        apart = np.hypot(rows - a[0] - t * (b - a)[0], columns - a[1] - t * (b - a)[1])
        region |= apart <= radius
    return region


def painted(region: np.ndarray, seed: int, contrast: float = 0.4) -> np.ndarray:
    """The tube brighter than its ground, with noise: float32 [1, h, w] in [0, 1]."""
    noise = np.random.default_rng(seed).normal(0, 0.05, region.shape)
    return (0.3 + contrast * region + noise).clip(0, 1).astype(np.float32)[None]


class Along(nn.Module):
    """Calls a pixel `tube` by the mean brightness of the pixels in its row, `reach` to each side.

    Its gradient is flat on that row and zero elsewhere.
    """

    def __init__(self, reach: int = 6, down: bool = False) -> None:
        super().__init__()
        shape = (2 * reach + 1, 1) if down else (1, 2 * reach + 1)
        self.body = nn.Conv2d(1, 1, shape, padding="same")
        self.head = nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            self.body.weight.fill_(1 / (2 * reach + 1))
            self.body.bias.zero_()
            self.head.weight.copy_(torch.tensor([[0.0], [20.0]])[..., None, None])
            self.head.bias.copy_(torch.tensor([0.0, -10.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


class MatchedFilters(nn.Module):
    """Dark vessels on bright ground: Gaussian profiles in twelve directions, the strongest counts.

    Source: Chaudhuri et al. 1989, IEEE Trans. Med. Imaging 8 (3). Green channel, sigma 1.5 px,
    23 px long; a pixel is a vessel where the strongest response exceeds `level`.
    """

    def __init__(self, level: float = 0.035, sigma: float = 1.5, length: int = 23) -> None:
        super().__init__()
        half = 12
        rows, columns = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
        kernels = []
        for k in range(12):
            angle = math.pi * k / 12
            across = -rows * math.sin(angle) + columns * math.cos(angle)
            along = rows * math.cos(angle) + columns * math.sin(angle)
            inside = (np.abs(along) <= length / 2) & (np.abs(across) <= 3 * sigma)
            profile = np.where(inside, -np.exp(-(across**2) / (2 * sigma**2)), 0)
            profile -= np.where(inside, profile[inside].mean(), 0)
            kernels.append(profile / np.abs(profile).sum())
        self.body = nn.Conv2d(1, 12, 2 * half + 1, padding=half, padding_mode="reflect", bias=False)
        self.level = level
        with torch.no_grad():
            self.body.weight.copy_(torch.tensor(np.stack(kernels)[:, None], dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        # The strongest, softly, so that its gradient exists.
        response = torch.logsumexp(200 * self.body(images[:, 1:2]), 1) / 200
        vessel = 100 * (response - self.level)
        return torch.stack([F.relu(-vessel), F.relu(vessel)], 1) + 0 * images.mean()

"""The frame of maps that know nothing of the network, for others to be compared with."""

from abc import abstractmethod
from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.explain.contract import Explainer
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


class Baseline(Explainer):
    """A map [n, h, w] for each target, without a gradient or a pass of its own."""

    @abstractmethod
    def map(self, scene: Scene, target: Target) -> Tensor: ...

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return torch.stack([self.map(scene, target) for target in targets])


def gaussian(sigma: float) -> Tensor:
    """exp(-d^2 / (2 sigma^2)) at the pixels d = -r..r, r = 3 sigma rounded up; float64, sum 1."""
    radius = ceil(3 * sigma)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = (-(at**2) / (2 * max(sigma, 1e-6) ** 2)).exp()
    return kernel / kernel.sum()


def correlated(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Maps [n, h, w] with a kernel along each axis, where it fits: [n, h - a + 1, w - b + 1]."""
    down, across = down.to(maps), across.to(maps)
    found = functional.conv2d(maps[:, None], across[None, None, None])
    return functional.conv2d(found, down[None, None, :, None])[:, 0]


def extended(maps: Tensor, radius: int) -> Tensor:
    """Maps [n, h, w] with their border repeated `radius` times on each side."""
    return functional.pad(maps[:, None], [radius] * 4, mode="replicate")[:, 0]

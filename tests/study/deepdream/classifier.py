"""A network whose only cue is known: stripes make the class, brightness does not."""

import numpy as np
import torch
from torch import nn

SIDE = 32
PERIOD = 4


class StripeNet(nn.Module):
    """log-odds of class 1 at a pixel: 40 (local energy of vertical stripes - 0.05).

    The energy is the smoothed absolute response of a zero-mean wave, blind to brightness.
    """

    def __init__(self) -> None:
        super().__init__()
        x = torch.arange(8.0)
        waves = torch.stack([torch.cos(2 * torch.pi * x / PERIOD), torch.sin(2 * torch.pi * x / 4)])
        kernel = waves[:, None, None].expand(2, 1, 3, 8) / 24
        self.body = nn.Conv2d(1, 2, (3, 8), padding="same", padding_mode="reflect", bias=False)
        self.body.weight = nn.Parameter(kernel.clone())
        self.pool = nn.AvgPool2d(5, 1, 2, count_include_pad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        energy = self.pool(self.body(images).square().sum(1, keepdim=True).add(1e-6).sqrt())
        margin = 40 * (energy - 0.05)
        return torch.cat([torch.zeros_like(margin), margin], 1)


def scene(number: int, striped: bool) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [h, w] and its mask: a square, brighter than its ground, with or without stripes."""
    rng = np.random.default_rng([3, number])
    grey = rng.uniform(0.3, 0.4) + rng.normal(0, 0.01, (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    top, left = rng.integers(2, SIDE - 20, 2)
    box = (slice(top, top + 16), slice(left, left + 16))
    mask[box] = int(striped)
    grey[box] += rng.uniform(0.15, 0.3)
    if striped:
        grey[box] += 0.15 * np.sin(2 * np.pi * np.arange(16) / PERIOD + rng.uniform(0, 6))
    return np.rint(grey.clip(0, 1) * 255).astype(np.uint8), mask

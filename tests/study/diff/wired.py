"""Networks by hand whose layer is one channel for each class of `tests.strange_models`' scenes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EXCESS = ((1.0, -0.5, -0.5), (-0.5, -0.5, 1.0), (-0.5, 1.0, -0.5))
"""Crimson, azure and verdant by red, green and blue."""


class Wired(nn.Module):
    """`body` holds the excess of each class's colour, then brightness; `head` reads the excess.

    `order` lays the channels of `body` out in another order, `gone` is a channel that is 0.
    """

    def __init__(
        self, order: Sequence[int] = (0, 1, 2, 3), gone: int | None = None, stride: int = 2
    ) -> None:
        super().__init__()
        mix = torch.tensor([*EXCESS, (0.3, 0.3, 0.3)])
        if gone is not None:
            mix[gone] = 0.0
        read = torch.zeros(4, 4)
        read[1:, :3] = 20 * torch.eye(3)
        self.pool = nn.AvgPool2d(stride)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU())
        self.head = nn.Conv2d(4, 4, 1)
        self.up = nn.Upsample(scale_factor=stride, mode="nearest")
        with torch.no_grad():
            self.body[0].weight.copy_(mix[list(order)][:, :, None, None])
            self.head.weight.copy_(read[:, list(order)][:, :, None, None])
            self.head.bias.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.up(self.head(self.body(self.pool(images))))

"""Networks that work, and of which a copy with shuffled weights puts out NaN."""

import torch
from torch import nn

from tests.study.ace.test_study import BarNet
from tests.study.deepdream.classifier import StripeNet


class Root(nn.Module):
    """The square root of twice the sum of what comes in, less the root of the same: 0.

    Of its two units one is positive and one negative; only the first is read, so in a copy with
    shuffled weights the sum has any sign, and the root of a negative one is NaN.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sums = nn.Conv2d(channels, 2, 1, bias=False)
        with torch.no_grad():
            self.sums.weight.copy_(torch.tensor([1.0, -9.0])[:, None, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        root = (self.sums(images)[:, :1] + 0.1).sqrt()
        return root - root.detach()


class FragileBar(BarNet):
    def __init__(self) -> None:
        super().__init__()
        self.root = Root(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + self.root(images)


class FragileStripe(StripeNet):
    def __init__(self) -> None:
        super().__init__()
        self.root = Root(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + self.root(images)

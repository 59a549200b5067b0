"""Hand-wired networks of which an explanation is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conceptseg.network.model import SegmentationModel
from tests.small_models import balanced, seeded, wrapped


class Split(nn.Module):
    """An encoder and what follows it; the layer is `encoder`."""

    def __init__(self, encoder: nn.Module, tail: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.encoder(x))


def linear_tail(units: int = 4, classes: int = 3, stride: int = 1) -> SegmentationModel:
    """A 1 x 1 convolution after a rectified random one."""
    build = lambda: Split(  # noqa: E731
        nn.Sequential(nn.Conv2d(3, units, 3, stride, 1), nn.ReLU()), nn.Conv2d(units, classes, 1)
    )
    return balanced(wrapped(seeded(build), classes), "tail")


def piecewise_linear_tail(units: int = 5, classes: int = 3) -> SegmentationModel:
    """Convolutions without biases, rectified, upsampled: homogeneous of degree one."""
    build = lambda: Split(  # noqa: E731
        nn.Sequential(nn.Conv2d(3, units, 3, 2, 1), nn.ReLU()),
        nn.Sequential(
            nn.Conv2d(units, 7, 3, padding=1, bias=False),
            nn.LeakyReLU(0.1),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(7, classes, 1, bias=False),
        ),
    )
    return wrapped(seeded(build), classes)


def red_finder() -> SegmentationModel:
    """Class 1 where the image is red; unit 0 fires on red, unit 1 on blue, unit 2 on all."""
    encoder, tail = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.zero_()
        encoder.weight[0, :, 0, 0] = torch.tensor([1.0, -1.0, -1.0])
        encoder.weight[1, :, 0, 0] = torch.tensor([-1.0, -1.0, 1.0])
        encoder.weight[2, :, 0, 0] = 1 / 3
        tail.weight.zero_()
        tail.weight[1, 0] = 2.0
        tail.bias.copy_(torch.tensor([0.5, 0.0]))
    return wrapped(Split(nn.Sequential(encoder, nn.ReLU()), tail), 2)


def two_red_squares() -> Tensor:
    """[1, 3, 16, 24], grey, red boxes of 6 x 4 px at (4, 2) and (4, 16), a blue one between."""
    image = torch.full((1, 3, 16, 24), 0.4)
    for x, colour in ((2, 0), (16, 0), (10, 2)):
        image[0, :, 4:10, x : x + 4] = 0
        image[0, colour, 4:10, x : x + 4] = 1
    return image


def looking_through(
    units: int, classes: int = 2, tail: nn.Module | None = None
) -> SegmentationModel:
    """A network whose layer `encoder` hands on the image of `units` channels as it is."""
    module = seeded(lambda: Split(nn.Identity(), tail or nn.Conv2d(units, classes, 1)))
    return wrapped(module, classes, units)


def difference() -> SegmentationModel:
    """One channel; class 1's logit is the pixel to the left minus the pixel to the right."""
    tail = nn.Conv2d(1, 2, (1, 3), padding=(0, 1), bias=False)
    with torch.no_grad():
        tail.weight.zero_()
        tail.weight[1, 0, 0] = torch.tensor([1.0, 0.0, -1.0])
    return looking_through(1, tail=tail)

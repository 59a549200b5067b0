"""What takes the place of pixels that are hidden from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from conceptseg.model import SegmentationModel

Fill = Literal["mean", "blur", "black", "grey", "neutral"]
"""See :func:`filling`."""

BLUR_FRACTION = 0.05


def filling(model: SegmentationModel, images: Tensor, kind: Fill) -> Tensor:
    """Images [n, c, h, w] of nothing but fill, in the colours of [0, 1].

    `mean` is each image's own mean colour, `blur` the image under a Gaussian of 5 % of its
    diagonal, `black` 0, `grey` 0.5, and `neutral` the colour that the network's preprocessing
    turns into 0, which is the data set's mean where that is subtracted (black where nothing is).
    No fill is harmless: a network may read any of them as a texture, so what an explanation says
    should hold for more than one.
    """
    if kind == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if kind == "blur":
        return _blurred(
            images, BLUR_FRACTION * float(torch.tensor(images.shape[2:]).float().norm())
        )
    if kind == "grey":
        return torch.full_like(images, 0.5)
    if kind == "neutral":
        return _neutral(model, images)
    return torch.zeros_like(images)


def _neutral(model: SegmentationModel, images: Tensor) -> Tensor:
    """The colour that preprocessing subtracts, in channels that it picks; black elsewhere."""
    settings = model.preprocessing
    found = torch.zeros_like(images)
    if settings.mean is None:
        return found
    low, high = settings.range
    picked = settings.channels or tuple(range(images.shape[1]))
    means = settings.mean * len(picked) if len(settings.mean) == 1 else settings.mean
    for channel, mean in zip(picked, means, strict=True):
        found[:, channel] = (mean - low) / (high - low)
    return found.clamp(0, 1)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels, with edges mirrored."""
    radius = min(round(3 * sigma), min(images.shape[2:]) - 1)
    if radius < 1:
        return images
    at = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = (-(at**2) / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    across = kernel.expand(channels, 1, 1, -1)
    padded = functional.pad(images, (radius, radius, radius, radius), mode="reflect")
    wide = functional.conv2d(padded, across, groups=channels)
    return functional.conv2d(wide, across.transpose(2, 3), groups=channels)

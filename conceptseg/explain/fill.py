"""What takes the place of pixels that are hidden from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.network.contract import Network

Fill = Literal["mean", "blur", "black", "grey", "neutral"]
"""See :func:`filling`."""

BLUR_FRACTION = 0.05


def filling(model: Network, images: Tensor, kind: Fill) -> Tensor:
    """Images [n, c, h, w] of nothing but fill, in the colours of [0, 1].

    `mean` is each image's own mean colour, `blur` the image under a Gaussian of 5 % of its
    diagonal, `black` 0, `grey` 0.5, and `neutral` the colour that the network's preprocessing
    turns into 0, which is the data set's mean where that is subtracted. The result may share
    memory with the images: do not write into it.
    No fill is harmless: a network may read any of them as a texture, so what an explanation says
    should hold for more than one.
    """
    import torch

    if kind == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if kind == "blur":
        return blurred(images, BLUR_FRACTION * float(torch.tensor(images.shape[2:]).float().norm()))
    if kind == "grey":
        return torch.full_like(images, 0.5)
    if kind == "neutral":
        return _neutral(model, images)
    return torch.zeros_like(images)


def _neutral(model: Network, images: Tensor) -> Tensor:
    """The colour that preprocessing subtracts, in channels that it picks; black elsewhere."""
    import torch

    settings = model.preprocessing
    found = torch.zeros_like(images)
    low, high = settings.range
    picked = settings.channels or tuple(range(images.shape[1]))
    subtracted = settings.mean or (0.0,)
    means = subtracted * len(picked) if len(subtracted) == 1 else subtracted
    for channel, mean in zip(picked, means, strict=True):
        found[:, channel] = (mean - low) / (high - low)
    return found.clamp(0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels, cut off at three of them, with edges mirrored."""
    down, across = (_smoothing(images, side, sigma) for side in images.shape[2:])
    return down @ images @ across.T


def from_around(images: Tensor, hole: Tensor) -> Tensor:
    """Images [n, c, h, w] with a hole [h, w] filled by means of what lies around, of wider and
    wider Gaussians the farther inside; the image's mean where nothing is near."""
    known = (~hole).to(images)[None, None]
    found = images * known
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0):
        weight = blurred(known, sigma)
        guess = blurred(found, sigma) / weight.clamp(min=1e-6)
        fresh = ((weight > 0.05) & (known == 0)).to(found)
        found, known = found + fresh * guess, known + fresh
    return (found + (1 - known) * images.mean((2, 3), keepdim=True)).clamp(0, 1)


def _smoothing(images: Tensor, side: int, sigma: float) -> Tensor:
    """[side, side]: how much of each pixel of a row goes into each; rows sum to 1."""
    import torch

    steps = torch.arange(-round(3 * sigma), round(3 * sigma) + 1, device=images.device)
    weights = (-(steps.to(images.dtype) ** 2) / (2 * sigma**2)).exp()
    at = torch.arange(side, device=images.device)
    # Mirrored without repeating the edge, as often as the kernel reaches over it.
    period = max(2 * (side - 1), 1)
    source = (at[:, None] + steps).remainder(period)
    source = torch.minimum(source, (period - source).remainder(period)) if side > 1 else 0 * source
    made = images.new_zeros(side, side)
    return made.scatter_add_(1, source, (weights / weights.sum()).expand(side, -1))

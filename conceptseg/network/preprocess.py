"""Images in [0, 1] -> what a network was trained on, inside its forward pass."""

from collections.abc import Sequence
from math import floor

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.config import Preprocessing
from conceptseg.errors import InputError

EPSILON = 1e-8
MOST_PX = 65_536
"""Sides of a network's input, in pixels, at most: a typing error should not take all memory."""


def prepare(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The network's input: channels picked, values scaled and normalised, sides resized.

    In this order, for an image x [n, c, h, w] in [0, 1]:

        x = x[:, channels]                      (a channel may be named twice, or left out)
        x = normalised(x)                       (normalise: by the image's own numbers)
        x = low + (high - low) x                (range = [low, high])
        x = (x - mean) / std                    (mean, std: per channel as the network sees them)
        x = resize(x, size), then to multiples

    Resizing is bilinear, corners not aligned, antialiased when it shrinks. With `multiple` = m a
    side s becomes max(m, m floor(s / m + 1/2)). Differentiable; keeps the memory format.
    """
    laid_out = images.is_contiguous(memory_format=torch.channels_last)
    x = images
    if preprocessing.channels is not None:
        x = x[:, list(preprocessing.channels)]
    x = normalised(x, preprocessing)
    low, high = preprocessing.range
    if (low, high) != (0.0, 1.0):
        x = low + (high - low) * x
    if preprocessing.mean is not None:
        x = x - _per_channel(preprocessing.mean, x)
    if preprocessing.std is not None:
        x = x / _per_channel(preprocessing.std, x)
    size = input_size(images.shape[2:], preprocessing)
    if size != tuple(images.shape[2:]):
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    return x.contiguous(memory_format=torch.channels_last) if laid_out else x


def normalised(x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Images [n, c, h, w], each channel of each scaled by numbers of its own.

    ===========  =================================================================================
    normalise    of a channel with values v
    ===========  =================================================================================
    image        (v - mean v) / sd v; sd as over a population, and at least 1e-8 (nnU-Net v2)
    nonzero      the same over what is not 0; what is 0 stays 0
    percentiles  (v - a) / (b - a), cut to 0..1; a and b are the `percentiles` of v, linear between
                 values as numpy has it
    ===========  =================================================================================

    The numbers are part of the network: gradients pass through them.
    """
    kind = preprocessing.normalise
    if kind == "none":
        return x
    flat = x.flatten(2)
    if kind == "percentiles":
        low, high = (_quantile(flat, q / 100) for q in preprocessing.percentiles)
        scaled = (flat - low) / (high - low).clamp(min=EPSILON)
        return scaled.clamp(0, 1).view(x.shape)
    counted = torch.ones_like(flat) if kind == "image" else (flat != 0).to(flat.dtype)
    count = counted.sum(2, keepdim=True).clamp(min=1)
    mean = (flat * counted).sum(2, keepdim=True) / count
    away = (flat - mean) * counted
    variance = (away**2).sum(2, keepdim=True) / count
    # A constant channel has no spread: its root is not taken, for that has no gradient at 0.
    spread = torch.where(variance > 0, variance, 1.0).sqrt().clamp(min=EPSILON)
    return (away / spread).view(x.shape)


def _quantile(flat: Tensor, q: float) -> Tensor:
    """Quantile of the last axis [n, c, 1], linear between values; of any number of pixels."""
    ordered = flat.sort(2).values
    place = q * (flat.shape[2] - 1)
    below, share = floor(place), place - floor(place)
    above = min(below + 1, flat.shape[2] - 1)
    return ordered[..., below, None] * (1 - share) + ordered[..., above, None] * share


def input_size(image: Sequence[int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width at which the network runs on an image of height and width `image`."""
    height, width = preprocessing.size or image
    step = preprocessing.multiple
    return _to_multiple(height, step), _to_multiple(width, step)


def check_preprocessing(preprocessing: Preprocessing) -> None:
    """Refuse what no image could pass through.

    Raises :class:`~conceptseg.errors.InputError` for negative channels, an empty range, a size
    below one pixel or above :data:`MOST_PX`, a std that is not positive, lists of different
    lengths.
    """
    low, high = preprocessing.range
    if low == high:
        raise InputError(
            f"model.preprocessing.range: [{low:g}, {high:g}] is empty; give two values"
        )
    if not 0 <= preprocessing.percentiles[0] < preprocessing.percentiles[1] <= 100:
        raise InputError("model.preprocessing.percentiles: give two numbers from 0 to 100, rising")
    if preprocessing.channels is not None and (
        not preprocessing.channels or min(preprocessing.channels) < 0
    ):
        raise InputError("model.preprocessing.channels: give indices from 0, at least one")
    if preprocessing.size is not None and not _sides(preprocessing.size):
        raise InputError(f"model.preprocessing.size: height and width are from 1 to {MOST_PX}")
    if preprocessing.multiple > MOST_PX:
        raise InputError(f"model.preprocessing.multiple: at most {MOST_PX}")
    if preprocessing.std is not None and min(preprocessing.std, default=0.0) <= 0:
        raise InputError("model.preprocessing.std: values must be above 0")
    lengths = {
        key: len(values)
        for key in ("mean", "std", "channels")
        if (values := getattr(preprocessing, key)) is not None
        and (key == "channels" or len(values) != 1)
    }
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        raise InputError(f"model.preprocessing: {listed} values; give one per channel in each")


def _sides(size: Sequence[int]) -> bool:
    return min(size) >= 1 and max(size) <= MOST_PX


def _per_channel(values: Sequence[float], x: Tensor) -> Tensor:
    if len(values) not in (1, x.shape[1]):
        raise InputError(
            f"model.preprocessing: mean and std have {len(values)} values, the network's input "
            f"{x.shape[1]} channels; give one per channel"
        )
    return torch.tensor(values, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)


def _to_multiple(side: int, step: int) -> int:
    return max(step, step * floor(side / step + 0.5))

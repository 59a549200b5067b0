"""The class that a network puts at each pixel, and how much of each image that makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def label_map(logits: Tensor) -> Tensor:
    """The class of the largest logit at each pixel: [..., k, h, w] -> int64 [..., h, w].

    Of equal logits the lower class, of NaN the first NaN, without a gradient. It is what `argmax`
    gives, but for time: across planes that takes 3 to 12 times as long on a processor.
    """
    return logits.detach().max(-3).indices


def class_areas(maps: Tensor, classes: int) -> np.ndarray:
    """Pixels of each class in maps int64 [n, h, w] of numbers below `classes`: int64 [n, k].

    A device is waited for once, not for each class.
    """
    import torch

    n = len(maps)
    first = classes * torch.arange(n, device=maps.device)[:, None, None]
    counts = torch.bincount((maps + first).flatten(), minlength=n * classes)
    found: np.ndarray = counts.reshape(n, classes).cpu().numpy()
    return found

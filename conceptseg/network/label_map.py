"""The class that a network puts at each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def label_map(logits: Tensor) -> Tensor:
    """The class of the largest logit at each pixel: [..., k, h, w] -> int64 [..., h, w].

    Of equal logits the lower class, of NaN the first NaN, without a gradient. It is what `argmax`
    gives, but for time: across planes that takes 3 to 12 times as long on a processor.
    """
    return logits.detach().max(-3).indices

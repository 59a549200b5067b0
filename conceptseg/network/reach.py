"""How far from a layer's positions the rest of the network lets them act."""

import torch
from torch import Tensor

from conceptseg.network.record import Tail

LEAST = 1e-3
"""Of the range of an image's logits; what moves them less decides nothing."""


def reach(tail: Tail, instead: Tensor) -> Tensor:
    """How many pixels from a position of a tail's layer logits still change, float32 [n].

    One half of the positions, the upper and then the left one, is set to `instead`, which
    broadcasts to the activation [n, u, y, x]; of the other half's pixels those count whose logits
    move by more than `LEAST` of their range in the image. The result is the largest distance from
    the line between both; inf where the farthest pixels still change, or where the layer has no
    two positions to tell apart. Where everything behind a layer looks at single positions it is
    what enlarging spreads.
    """
    logits, activation = tail.logits.float(), tail.activation
    least = LEAST * (logits.amax((1, 2, 3)) - logits.amin((1, 2, 3)))
    result = torch.zeros(len(logits), device=logits.device)
    for axis in (2, 3):
        positions, pixels = activation.shape[axis], logits.shape[axis]
        half = positions // 2
        if not half:
            return torch.full_like(result, torch.inf)
        edited = activation.clone()
        edited.narrow(axis, 0, half).copy_(instead.expand_as(activation).narrow(axis, 0, half))
        moved = (tail.resume(edited).float() - logits).abs().amax(1) > least[:, None, None]
        lines = moved.any(4 - axis)  # the other axis of [n, h, w]
        places = torch.arange(1, pixels + 1, device=lines.device)
        last = (lines * places).amax(1)
        far = (last - pixels * half / positions).clamp(min=0)
        result = torch.maximum(result, torch.where(last == pixels, torch.inf, far))
    return result

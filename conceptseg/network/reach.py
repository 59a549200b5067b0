"""How far from a layer's positions the rest of the network lets them act."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.network.choice import LITTLE, Choice
from conceptseg.network.contest import Images
from conceptseg.network.contract import Network
from conceptseg.network.levels import AND
from conceptseg.network.record import Tail

LEAST = 1e-3
"""Of the range of an image's logits; what moves them less decides nothing."""
REACHING, DEAR = 2, 4
"""Images on which layers are asked; one where layers were weighed on fewer than so many."""


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


def with_reach(
    choice: Choice,
    model: Network,
    images: Images,
    batch_size: int = 4,
    only: str | None = None,
) -> Choice:
    """The choice with how far positions of layers that were weighed act on logits, in pixels
    (:func:`reach`): the least of the first images.

    Of all of them, or of the layer `only` and those that most of the decision passes. It takes
    three passes of one image for each layer and image; of a network that is dear, one image.
    """
    some = images[: 1 if choice.images < DEAR else REACHING]
    farthest = float(max(some.shape[2:]))
    found, passed = dict(choice.weighed), choice.passed
    for name, one in choice.weighed.items():
        little = only not in (None, name) and (choice.share(name) or 0.0) < LITTLE
        if AND in name or one.reach is not None or little:
            continue
        far = []
        try:
            for part in some.split(max(1, batch_size)):
                with torch.no_grad():
                    tail = Tail.of(model, part, name)
                    mean = tail.activation.mean((0, 2, 3), keepdim=True)
                    far += reach(tail, mean).tolist()
        except InputError:  # its output can be set, but not read from there on
            continue
        passed += 3 * len(some)
        found[name] = replace(one, reach=min(farthest, *far))
    return replace(choice, weighed=found, passed=passed)

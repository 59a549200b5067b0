"""How many channels the images of a network have, told by the weight that they meet first."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from conceptseg.network.contract import Enough, Network

SIDE = 64
USUAL = (3, 1, 4)
"""Numbers of channels that are tried where the first weight does not tell."""
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def channels_of(model: Network) -> int:
    """The number of channels of a network's images, by a pass that ends at its first convolution.

    That is the first one called with what depends on the image, however they are registered. If
    the image reaches it widened (coordinates beside it, pixels folded into channels), the number
    is the one with which it fits. Where no convolution is reached, as in TorchScript: that of the
    first weight of four dimensions, 3 if there is none.
    """
    stems = (p.shape[1] for p in model.module.parameters() if p.ndim == 4)
    first = int(next(stems, 3))
    other = None
    for count in dict.fromkeys((first, *USUAL)):
        met = _met(model, count)
        if met is None:
            continue
        given, taken = met
        if given == count:
            return taken
        if given == taken:
            return count
        if other is None and count + taken - given > 0:
            other = count + taken - given
    return other or first


def _met(model: Network, count: int) -> tuple[int, int] | None:
    """How many channels the first convolution is given by an image of `count`, and how many it
    takes; None where none is reached."""
    found: list[tuple[int, int]] = []

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and args[0].dim() == 4 and args[0].requires_grad:
            taken = module.in_channels
            assert isinstance(taken, int)
            found.append((args[0].shape[1], taken))
            raise Enough

    from conceptseg.network.record import undisturbed

    convolutions = [m for m in model.module.modules() if isinstance(m, _CONVOLUTIONS)]
    if not convolutions:
        return None
    image = torch.zeros(1, count, SIDE, SIDE, device=next(model.parameters()).device)
    with ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.enable_grad())
        for one in convolutions:
            stack.callback(one.register_forward_pre_hook(look).remove)
        try:
            model.module(image.requires_grad_())
        except (Enough, Exception):
            return found[0] if found else None
    return None

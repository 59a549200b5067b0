"""Multipliers, for :mod:`rescale`, of what chooses between values: maxima, minima, masks.

A value that is chosen takes what the choice changed. Of a maximum y against its reference's y',
with c = max(y, y'), c - y' goes to where the image has its maximum and y - c to where the
reference has it: whoever gets it has changed by as much at least, so no multiplier leaves [0, 1].
Of a mask by data the difference of what came through goes to the branches in proportion to what
each changed itself; where image and reference choose alike, that is the branch's own change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR = 1e-6
"""Relative difference below which a quotient of differences is rounding, and the slope is taken."""


def extreme_pair(first: Tensor, second: Tensor, sign: int) -> list[Tensor]:
    """Of an elementwise maximum (`sign` 1) or minimum (-1) of two tensors [2n, ...], images and
    then references: each one's factor [n, ...]. Ties go to the first."""
    both = [sign * t for t in torch.broadcast_tensors(first, second)]
    wins = both[0] >= both[1]
    own, reference = torch.maximum(*both).chunk(2)
    larger = torch.maximum(own, reference)
    now, before = wins.chunk(2)
    found = []
    for values, here, there in ((both[0], now, before), (both[1], ~now, ~before)):
        share = here * (larger - reference) + there * (own - larger)
        found.append(quotient(share, _change(values), here.to(own)))
    return found


def extreme_within(x: Tensor, axes: Sequence[int], sign: int) -> Tensor:
    """Of a maximum or minimum of x [2n, ...] over axes, that among images or colours not being one:
    the factors [n, ...] by which its multiplier becomes that of every place of x."""
    axes = [axis % x.dim() for axis in axes]
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    order = [*kept, *axes]
    flat = (sign * x).permute(order).flatten(len(kept))
    own, reference = flat.chunk(2)
    places = [part.argmax(-1, keepdim=True) for part in (own, reference)]
    tops = [part.gather(-1, at) for part, at in zip((own, reference), places, strict=True)]
    larger = torch.maximum(*tops)
    share = torch.zeros_like(own).scatter_add(-1, places[0], larger - tops[1])
    share = share.scatter_add(-1, places[1], tops[0] - larger)
    winner = torch.zeros_like(own).scatter(-1, places[0], 1.0)
    found = quotient(share, own - reference, winner)
    shape = [len(own), *(x.shape[axis] for axis in order[1:])]
    back = [order.index(axis) for axis in range(x.dim())]
    return found.reshape(shape).permute(back)


def masked(mask: Tensor, chosen: Tensor, other: Tensor) -> list[Tensor]:
    """Of where(mask, chosen, other), each [2n, ...]: the factors [n, ...] of the two branches."""
    mask, chosen, other = torch.broadcast_tensors(mask, chosen, other)
    now, before = mask.chunk(2)
    own, reference = torch.where(mask, chosen, other).chunk(2)
    changes = [_change(chosen), _change(other)]
    size = changes[0].abs() + changes[1].abs()
    safe = size.where(size > 0, torch.ones_like(size))
    found = []
    for change, here in zip(changes, (now, ~now), strict=True):
        across = (own - reference) * change.sign() / safe
        small = size <= NEAR * (1 + own.abs())
        found.append(torch.where((now == before) | small, here.to(own), across))
    return found


def quotient(share: Tensor, change: Tensor, slope: Tensor) -> Tensor:
    """share / change, and the slope where the change is rounding."""
    small = change.abs() <= NEAR * (1 + share.abs())
    return torch.where(small, slope, share / change.where(~small, torch.ones_like(change)))


def _change(values: Tensor) -> Tensor:
    own, reference = values.chunk(2)
    return own - reference

"""Whether layers have influence on a network's logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from conceptseg.errors import GradientError, InputError
from conceptseg.network.levels import Levels

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

MOST_ERASED = 16
"""Layers of a network without gradients that are erased, one pass each, to find one that acts."""


def first_with_influence(model: Network, image: Tensor, layers: Sequence[str]) -> str | None:
    """The first of `layers` on which the logits of one image [1, c, h, w] depend; None if none.

    The gradient of a sum of the logits with random weights, times the activation, tells: of the
    first layer in a pass of its own, and where that is zero all over of the others together. Where
    it is zero at every layer (logits that are rounded, compared or saturated on the way), zeros in
    a layer's place tell, of the first 16.
    """
    if not layers:
        return None
    for asked in (layers[:1], layers[1:]):
        acting = sloping(model, image, asked)
        found = next((name for name in asked if name in acting), None)
        if found is not None:
            return found
    return next((name for name in layers[:MOST_ERASED] if acts(model, image, name)), None)


def sloping(model: Network, images: Tensor, layers: Sequence[str]) -> set[str]:
    """Those of `layers` where the gradient of a random sum of the logits meets an activation.

    That is, where the sum over the layer of |gradient| times what its activation may change by is
    more than the rounding of the largest logit.
    """
    refused = _REFUSED.get(model.module, frozenset())
    layers = [name for name in layers if name not in refused]
    if not layers:
        return set()
    try:
        return _sloping(model, images, layers)
    except GradientError:
        return _behind(model, images, layers)
    except InputError:  # of a layer that cannot be written back; none of them is believed
        if len(layers) == 1:
            return set()
        return {name for one in layers[:MOST_ERASED] for name in sloping(model, images, [one])}


def _behind(model: Network, images: Tensor, layers: Sequence[str]) -> set[str]:
    """Those of `layers` behind all that breaks the gradient.

    What breaks it behind one layer breaks it for all before that, which are not asked, now or
    later: a pass whose gradient fails may never give back its memory (a tensor that is written in
    place keeps itself).
    """
    from conceptseg.network.record import Recorder

    found: set[str] = set()
    try:
        with torch.no_grad(), Recorder(model, layers) as recorder:
            recorder(images)
    except InputError:
        return found
    broken = list(recorder.activations)  # in the order in which they ran
    while len(layers) > 1 and broken:
        try:
            found |= _sloping(model, images, broken[-1:])
        except GradientError:
            break
        except InputError:
            pass  # this one cannot be written back
        broken.pop()
    _REFUSED[model.module] = _REFUSED.get(model.module, frozenset()).union(broken)
    return found


_REFUSED: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()
"""Layers of networks from which on, on some image, the network's own gradient failed."""


def _sloping(model: Network, images: Tensor, layers: Sequence[str]) -> set[str]:
    from conceptseg.network.record import Recorder

    with Recorder(model, layers, gradients=True) as recorder:
        logits = recorder(images)
        slopes = recorder.gradient(_random_sum)
    assert logits is not None
    least = torch.finfo(torch.float32).eps * float(logits.detach().abs().max())
    effects = {
        name: (slopes[name].abs() * _reach(recorder.activations[name].detach())).sum()
        for name in slopes
    }
    # Not a number is not little: it is for the pass over the data to name the image.
    return {name for name, effect in effects.items() if not float(effect) <= least}


def _reach(activation: Tensor) -> Tensor:
    """By how much each entry may change: its modulus and the layer's mean; 1 where all are silent.

    A layer that is silent on one image (noise, an image of something else) may act on others.
    """
    size = activation.abs()
    mean = size.mean()
    return size + torch.where(mean > 0, mean, 1.0)


def _random_sum(logits: Tensor) -> Tensor:
    """Random, so that no symmetry of the network can cancel it; always the same."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(logits.shape, generator=generator).to(logits)
    return (logits * weights).flatten(1).sum(1)


def acts(model: Network, images: Tensor, layer: str | Levels) -> bool:
    """Whether zeros in a layer's place, or in that of several at once, change the logits."""
    from conceptseg.network.record import Recorder

    names = Levels.of(layer).names
    erased = dict.fromkeys(names, torch.zeros_like)
    try:
        with torch.no_grad(), Recorder(model, names) as recorder:
            before = recorder(images)
        with torch.no_grad(), Recorder(model, [], edit=erased) as recorder:
            after = recorder(images)
    except InputError:
        return False
    return before is not None and after is not None and not torch.equal(before, after)


def acting_channels(model: Network, images: Tensor, layer: str | Levels) -> float:
    """Share of a layer's channels with a gradient of the logits, each class against their mean.

    Zero where no gradient leads to the layer. Raises :class:`~conceptseg.errors.InputError` where
    the network's own gradient fails.
    """
    from conceptseg.network.record import Tail

    try:
        tail = Tail.of(model, images, layer, graph=True)
    except InputError:
        return 0.0
    logits = tail.logits.detach()
    signs = torch.sign(logits - logits.mean(1, keepdim=True))
    gradient = tail.gradient(lambda z: (z * signs).mean((1, 2, 3)), retain=False)
    return float((gradient.abs().amax((0, 2, 3)) > 0).float().mean())

"""The engine that propagates relevance through a network, kept from one explanation to the next."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from conceptseg.fill import Fill
from conceptseg.lrp.composites import CompositeName
from conceptseg.lrp.engine import Engine
from conceptseg.model import SegmentationModel

_Key = tuple[object, ...]
_ENGINES: WeakKeyDictionary[nn.Module, tuple[_Key, Engine]] = WeakKeyDictionary()
"""The last engine of each network, with the state and settings that it was made for."""


def engine_of(
    model: SegmentationModel,
    images: Tensor,
    composite: CompositeName,
    zero_bias: bool = True,
    gamma: float = 0.25,
    reference: Fill = "mean",
) -> Engine:
    """The engine of a network, made again when the network or the settings have changed."""
    key = (composite, zero_bias, gamma, reference, tuple(images.shape[1:]), *_state(model))
    known = _ENGINES.get(model.module)
    if known is None or known[0] != key:
        made = Engine(
            model, images, composite, zero_bias=zero_bias, gamma=gamma, reference=reference
        )
        _ENGINES[model.module] = known = (key, made)
    return known[1]


def _state(model: nn.Module) -> _Key:
    """What tells a network from itself after a change: versions, devices and sums of tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    marks = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in tensors)
    with torch.no_grad():
        sums = [t.double().sum() for t in tensors if t.is_floating_point()]
        return (*marks, *(torch.stack(sums).tolist() if sums else ()))

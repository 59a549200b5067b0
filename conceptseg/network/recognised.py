"""What weights alone tell of the network that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from conceptseg import catalogue
from conceptseg.network.checkpoint import States


@dataclass(frozen=True)
class Recognised:
    """Channels that a network takes, maps that it puts out, and arguments that build it.

    None or empty where the weights do not tell.
    """

    channels: int | None = None
    outputs: int | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


def recognise(source: str, name: str, states: States) -> Recognised:
    """What a checkpoint tells of a network of a source.

    A source that can tell more has a function `recognise(name, state)` of its own, which returns
    the arguments of the network's constructor.
    """
    state = max(states.values(), key=len)
    filters = [one for one in state.values() if one.ndim == 4]
    heads = [key for key, one in state.items() if one.ndim == 4 and "aux" not in key]
    channels = int(filters[0].shape[1]) if filters else None
    outputs = _outputs(state, heads[-1]) if heads else None
    own = getattr(_module(source), "recognise", None)
    arguments = own(name, state) if own is not None else {}
    return Recognised(channels, outputs, arguments)


def _outputs(state: Mapping[str, Tensor], head: str) -> int:
    """Maps that a layer puts out: of a transposed convolution, whose weights begin with what it
    takes, its bias alone tells."""
    weight, bias = state[head], state.get(f"{head.removesuffix('weight')}bias")
    if head.endswith("weight") and bias is not None and len(bias) in weight.shape[:2]:
        return len(bias)
    return int(weight.shape[0])


def _module(source: str) -> Any:
    """The module of a source; raises InputError for one that is not there, or lacks its package."""
    import sys

    return sys.modules[catalogue.load("models", source).__module__]


def without_prefix(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of a network of which `part` is a key's first word, without what precedes it."""
    starts = {key[: key.index(part)] for key in state if key.startswith(part) or f".{part}" in key}
    start = min(starts, key=len, default="")
    return {key.removeprefix(start): one for key, one in state.items() if key.startswith(start)}

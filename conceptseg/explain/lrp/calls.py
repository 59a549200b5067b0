"""How a call of an operation is read, and relevance brought to the shape of its inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from conceptseg.explain.lrp.names import DIFFERENCES

EPSILON = 1e-6


def stabilised(z: Tensor) -> Tensor:
    """z moved away from 0 by 1e-6, as Zennit moves it."""
    return z + torch.where(z < 0, -EPSILON, EPSILON).to(z)


def carries(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def terms(name: str, args: Any, kwargs: Any) -> list[tuple[Tensor, float]]:
    """What carries relevance in a sum or difference, with the factor that it is added with."""
    scale = kwargs.get("alpha", 1)
    signs = (1.0, -scale) if name in DIFFERENCES else (1.0, scale)
    if name in ("__rsub__", "rsub"):
        signs = (-1.0, 1.0)
    both = pair(args, kwargs, "input", "other")
    return [(t, s) for t, s in zip(both, signs, strict=True) if carries(t)]


def pair(args: Any, kwargs: Any, first: str, *second: str) -> tuple[Any, Any]:
    """The first two arguments of a call, by place or by one of their names."""
    one = args[0] if args else kwargs[first]
    if len(args) > 1:
        return one, args[1]
    return one, next((kwargs[name] for name in second if name in kwargs), None)


def own_statistics(args: Any, kwargs: Any) -> bool:
    """Whether a call of instance_norm norms by the image rather than by running statistics."""
    return bool(args[5] if len(args) > 5 else kwargs.get("use_input_stats", True))


def without(kwargs: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if k != key}


def gathered(relevance: Tensor, shape: torch.Size) -> Tensor:
    """Relevance summed over the axes along which an input of that shape was broadcast."""
    if relevance.shape == shape:
        return relevance
    return relevance.sum_to_size(shape)


def taken(args: Any, kwargs: Any, left_out: str) -> tuple[Tensor, Any, dict[str, Any]]:
    """A call's input, what else it has by place, and what by name."""
    rest = {k: v for k, v in kwargs.items() if k not in ("input", left_out)}
    return (args[0], args[1:], rest) if args else (kwargs["input"], (), rest)


def of_images(own: Tensor) -> Tensor:
    """Multipliers of images, and none of their references: [n, ...] -> [2n, ...]."""
    return torch.cat([own, torch.zeros_like(own)])


Back = Callable[[Tensor], tuple[Tensor | None, ...]]


class Rule(torch.autograd.Function):
    """An operation that was run already: its output, and for its backward `back`."""

    @staticmethod
    def forward(ctx: Any, back: Back, output: Tensor, *inputs: Tensor) -> Tensor:
        ctx.back = back
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        return (None, None, *ctx.back(relevance))

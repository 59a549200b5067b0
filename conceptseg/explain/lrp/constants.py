"""What norms add to values, kept beside them until a layer or a rectifier reads them.

A norm that follows a rectifier, y = s x + t, gives units that are silent the value t. Relevance of
y shared out by y would lie on units that say nothing, and grow with every norm. So t goes along
with y through whatever is linear (moves, sums, resizing, pooling, factors), and the layer that
reads y shares relevance out by its own part s x alone, t counting as a part of the layer's bias:
as if the norm were folded into that layer, exactly, padding and all. What is not linear takes y as
it is; relevance that it hands to a y without any part of its own is the norm's bias's, and ends.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.explain.lrp.calls import Rule, carries, pair
from conceptseg.explain.lrp.graph import WEIGHTED
from conceptseg.explain.lrp.names import DIFFERENCES, LINEAR_MAPS, MOVES, PRODUCTS, RATIOS, SUMS
from conceptseg.network.layout import tensors_in

_CONSTANT = "_conceptseg_constant"
_NO_VALUES = frozenset({"requires_grad_", "retain_grad", "register_hook", "item", "is_contiguous"})
FOLLOWED = (MOVES | SUMS | DIFFERENCES | LINEAR_MAPS | PRODUCTS | RATIOS | {"neg", "__neg__"}) - (
    _NO_VALUES
)
"""Operations that are linear in what carries relevance, once other factors are constant."""


def constant_of(value: Any) -> Tensor | None:
    """What norms added to a value, of its shape; None where no norm did."""
    found: Tensor | None = getattr(value, _CONSTANT, None) if isinstance(value, Tensor) else None
    return found


def keep(value: Tensor, constant: Tensor) -> None:
    """Note what of a value a norm has added, [...] that fits its shape."""
    setattr(value, _CONSTANT, constant.detach().expand(value.shape))


def own(value: Tensor) -> Tensor:
    """A value without what norms added to it."""
    constant = constant_of(value)
    return value.detach() if constant is None else value.detach() - constant


def follow(
    name: str, func: Callable[..., Any], args: Any, kwargs: Any, output: Any, gate: str
) -> None:
    """Give the output of a linear operation the constants of its inputs.

    `gate` is the attribute that marks factors, which stay what they are.
    """
    given = [*tensors_in([*args, *kwargs.values()])]
    if all(constant_of(t) is None for t in given):
        return

    def swapped(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(map(swapped, value))
        if not isinstance(value, Tensor) or not value.requires_grad or hasattr(value, gate):
            return value
        held = constant_of(value)
        return torch.zeros_like(value.detach()) if held is None else held.clone()

    with torch.no_grad():
        values = [swapped(value) for value in args]
        found = func(*values, **{k: swapped(v) for k, v in kwargs.items()})
    if output is None:  # written into the first
        keep(args[0], values[0])
        return
    for one, constant in zip(tensors_in(output), tensors_in(found), strict=True):
        if one.requires_grad:
            keep(one, constant)


def settled(name: str, args: Any, kwargs: Any, gate: str) -> tuple[Any, Any]:
    """A call whose inputs hold no norms' constants, unless its operation goes on with them.

    Relevance of a value without any part of its own ends there.
    """
    given = pair(args, kwargs, "input", "other") if name in PRODUCTS else ()
    both = sum(carries(t) and not hasattr(t, gate) for t in given)
    if (name in FOLLOWED and both != 2) or name in WEIGHTED or "max_pool" in name:
        return args, kwargs

    def alone(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(map(alone, value))
        if constant_of(value) is None:
            return value
        kept = (own(value) != 0).to(value)
        applied: Tensor = Rule.apply(lambda r: (r * kept,), value.detach(), value)
        return applied

    return tuple(map(alone, args)), {key: alone(value) for key, value in kwargs.items()}


def pooled(x: Tensor, output: Tensor, call: Callable[..., Any]) -> None:
    """Give maxima, of x [n, c, ...] pooled, the constants of what they were."""
    constant = constant_of(x)
    if constant is None or not output.requires_grad:
        return
    with torch.no_grad():
        _, where = call(x.detach())
        found = constant.flatten(2).gather(2, where.flatten(2)).reshape(where.shape)
    keep(output, found)


def with_indices(name: str, args: Any, kwargs: Any) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A call of pooling by maximum, as one that also tells where each maximum lay."""
    rest = {k: v for k, v in kwargs.items() if k not in ("input", "return_indices")}
    others = args[1:]
    adaptive = "adaptive" in name
    dims = name.partition("pool")[2][0]
    pool = getattr(F, f"{'adaptive_' * adaptive}max_pool{dims}d_with_indices")
    return lambda v: pool(v, *others[: 1 if adaptive else 5], **rest)

"""How relevance of what is linear without weights is shared out among what goes in.

In proportion (x R / z), evenly, or by positive parts: x+ R / sum x+, and where nothing is positive
by modulus. Shares in proportion are larger than what they share wherever terms cancel, and the
next sum magnifies them again; positive parts never make any relevance, as z+ does not.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.explain.lrp.calls import stabilised

Way = Literal["proportion", "evenly", "positive"]


def of_sum(
    way: Way, parts: Sequence[Tensor], besides: Tensor | None = None
) -> Callable[[Tensor], list[Tensor]]:
    """Relevance of a sum -> that of each of its terms; `besides` is a term that keeps its own."""
    if way == "evenly":
        share = 1.0 / (len(parts) + (besides is not None))
        return lambda r: [r * share for _ in parts]
    all_parts = [*parts] if besides is None else [*parts, besides]
    if way == "proportion":
        whole = stabilised(_total(all_parts))
        return lambda r: [part * (r / whole) for part in parts]
    positive = _total([part.clamp(min=0) for part in all_parts])
    sizes = _total([part.abs() for part in all_parts])
    some, whole, size = positive > 0, stabilised(positive), stabilised(sizes)

    def back(r: Tensor) -> list[Tensor]:
        up, across = r / whole, r / size
        return [torch.where(some, part.clamp(min=0) * up, part.abs() * across) for part in parts]

    return back


def _total(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def of_map(way: Way, x: Tensor, call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Relevance of a linear map J x -> that of x: x J^T (R / z), or evenly J^T (R / J 1).

    By positive parts it takes the entries of J as positive, as those of means and resizing are.
    """
    if way == "evenly":
        return _term(call, torch.ones_like(x))
    if way == "proportion" or not bool((x < 0).any()):
        return _term(call, x)
    up, size = x.clamp(min=0), x.abs()
    with torch.no_grad():
        some = call(up) > 0
    positive, across = _term(call, up), _term(call, size)
    return lambda r: positive(torch.where(some, r, 0.0)) + across(torch.where(some, 0.0, r))


def _term(call: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    with torch.enable_grad(), torch._C.DisableTorchFunction():
        entered = x.detach().requires_grad_()
        local = call(entered)
    whole = stabilised(local.detach())

    def back(r: Tensor) -> Tensor:
        with torch.enable_grad():
            (g,) = torch.autograd.grad(local, entered, r / whole, retain_graph=True)
        return g * entered.detach()

    return back


def of_product(way: Way, bearing: Tensor, factor: Tensor, left: bool) -> Callable[[Tensor], Tensor]:
    """Relevance of a matrix product V F (`left`) or F V -> that of V, F taken as a constant."""

    def product(v: Tensor, f: Tensor) -> Tensor:
        return v @ f if left else f @ v

    def back_of(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Callable[..., Tensor], Tensor]:
        total = _total([product(v, f) for v, f in pairs])
        whole = stabilised(total)

        def back(r: Tensor) -> Tensor:
            q = r / whole
            turned = [(v, f.transpose(-1, -2)) for v, f in pairs]
            return _total([_fit(v, q @ f if left else f @ q) for v, f in turned])

        return back, total

    if way != "positive":
        return back_of([(bearing, factor)])[0]
    signs = [
        (bearing.clamp(min=0), factor.clamp(min=0)),
        (-bearing.clamp(max=0), -factor.clamp(max=0)),
    ]
    positive, total = back_of([pair for pair in signs if bool(pair[0].any())] or signs[:1])
    across, _ = back_of([(bearing.abs(), factor.abs())])
    some = total > 0
    return lambda r: positive(torch.where(some, r, 0.0)) + across(torch.where(some, 0.0, r))


def _fit(v: Tensor, g: Tensor) -> Tensor:
    return v * (g if g.shape == v.shape else g.sum_to_size(v.shape))


def mean_pooling(name: str, args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
    """A call of pooling by maximum, as one of pooling by mean over the same places."""
    rest = args[1:]
    dims = args[0].dim() - 2
    mean = getattr(F, ("adaptive_" if "adaptive" in name else "") + f"avg_pool{dims}d")
    if "adaptive" in name:
        size = rest[0] if rest else kwargs["output_size"]
        return lambda v: mean(v, size)
    keys = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(keys, rest, strict=False)) | kwargs
    given = {k: given[k] for k in ("kernel_size", "stride", "padding", "ceil_mode") if k in given}
    return lambda v: mean(v, **given, count_include_pad=False)

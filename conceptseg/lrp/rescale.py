"""A pass that shares out what an image changes against a reference: DeepLIFT with its Rescale rule.

The batch holds the images and then, in the same order, their references. What flows back through
autograd is the multiplier m of each value x of an image: m (x - x') is what the value's difference
from its reference x' adds to the target's difference, and at every cut of the network these sum to
the whole of it. A unit that the image silences differs from its reference as much as one that it
excites, so what speaks by being absent gets its share; rules that share out what is there
(:mod:`conceptseg.lrp.propagate`) cannot give it any.

======================================  ======================================================
operation                               multiplier of its input
======================================  ======================================================
convolutions, linear, sums, moves, ...  that of any linear map: its transpose; biases cancel
what acts on each value by itself       (y - y') / (x - x'), the slope where x is near x'
pooling by maximum                      the difference of maxima goes to where the larger one is
products, matrix products               each factor's difference times the mean of the other
softmax, norms of the image's own       those of the exponentials, sums, roots and products
                                        that they are made of
======================================  ======================================================

Source: Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating
Activation Differences", ICML 2017, arXiv:1704.02685, sections 3.2 and 3.5. Maxima are shared out
as in their code; products, of which the paper has none, as Shapley has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.layout import tensors_in
from conceptseg.lrp.frozen import OwnNorm
from conceptseg.lrp.kept import parse
from conceptseg.lrp.names import ELEMENTWISE, RATIOS, REVERSED_RATIOS
from conceptseg.lrp.propagate import Propagation, carries, gathered, terms

NEAR = 1e-6
"""Relative difference below which a quotient of differences is rounding, and the slope is taken."""


class Rescaling(Propagation):
    """The mode in which a canonised network's pass of images and their references is made."""

    def _amount(self, flowing: Tensor, at: Tensor) -> float:
        own, reference = at.detach().chunk(2)
        return float((flowing[: len(own)] * (own - reference)).sum())

    def _weighted(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        _, _, parameters = parse(func, name, args, kwargs)
        if any(map(carries, parameters)):
            raise self._no_rule(name)
        output: Tensor = func(*args, **kwargs)
        return output

    def _linear(self, name: str, x: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        return call(x)

    def _activation(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        return self._by_value(name, func, args, kwargs)

    def _gate(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        if name in ELEMENTWISE:
            return self._by_value(name, func, args, kwargs)
        if name == "softmax":
            return self._softmax(args, kwargs)
        if not any(map(carries, tensors_in([*args, *kwargs.values()]))):
            return self._run(func, args, kwargs)
        raise self._no_rule(name)

    def _softmax(self, args: Any, kwargs: Any) -> Tensor:
        """e^x times 1 / sum e^x, both less the larger maximum of an image and its reference."""
        x = args[0] if args else kwargs["input"]
        axis = args[1] if len(args) > 1 else kwargs["dim"]
        top = x.detach().amax(axis, keepdim=True)
        highest = torch.maximum(*top.chunk(2))
        raised = self._by_value("exp", torch.exp, (x - torch.cat([highest, highest]),), {})
        whole = raised.sum(axis, keepdim=True)
        return self._product("div", torch.div, (raised, whole), {})

    def _own_norm(self, name: str, args: Any, kwargs: Any, func: Any) -> Tensor:
        norm = OwnNorm(name, args, kwargs)
        parts = norm.centred(norm.x)
        squares = self._product("mul", torch.mul, (parts, parts), {})
        variance = squares.mean(norm.axes, keepdim=True) + norm.eps
        scale = self._by_value("rsqrt", torch.rsqrt, (variance,), {})
        return norm.affine(self._product("mul", torch.mul, (parts, scale), {}))

    def _sum(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        parts = terms(name, args, kwargs)
        output = self._run(func, args, kwargs)

        def back(m: Tensor) -> tuple[Tensor, ...]:
            return tuple(gathered(m if s == 1 else m * s, t.shape) for t, s in parts)

        return self._applied(name, back, output, *[t for t, _ in parts])

    def _by_value(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        x, call = self._call(name, func, args, kwargs)
        output = self._run(func, args, kwargs)
        if not carries(x):
            return output
        if output.shape != x.shape:
            raise self._no_rule(name)
        slope = slopes(x.detach(), output, call)
        return self._applied(name, lambda m: (_first(m[: len(slope)] * slope),), output, x)

    def _call(
        self, name: str, func: Any, args: Any, kwargs: Any
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The one input that carries, and the operation as a function of it."""
        rest = {k: v for k, v in kwargs.items() if k not in ("input", "inplace")}
        x, others = (args[0], args[1:]) if args else (kwargs["input"], ())
        if not isinstance(x, Tensor) or any(map(carries, [*others, *rest.values()])):
            raise self._no_rule(name)
        return x, lambda v: func(v, *others, **rest)

    def _product(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = args[0], args[1] if len(args) > 1 else kwargs["other"]
        if name in REVERSED_RATIOS:
            first, second = second, first
        output = self._run(func, args, kwargs)
        factor = second.detach() if isinstance(second, Tensor) else second
        slope: Any = 1.0
        if name in RATIOS:
            factor = 1 / factor
            if carries(second):
                slope = slopes(second.detach(), factor, torch.reciprocal)
        backs = []
        if carries(first):
            backs.append((first, _between(factor, carries(second))))
        if carries(second):
            backs.append((second, _between(first, carries(first)) * slope))

        def back(m: Tensor) -> tuple[Tensor, ...]:
            own = m[: len(m) // 2]
            return tuple(gathered(_first(own * f), t.shape) for t, f in backs)

        return self._applied(name, back, output, *[t for t, _ in backs])

    def _matrices(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = (
            args[0],
            args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("mat2")),
        )
        output = self._run(func, args, kwargs)
        means = [_between(t, carries(t)) for t in (first, second)]

        def back(m: Tensor) -> tuple[Tensor, ...]:
            own = m[: len(m) // 2]
            found = []
            if carries(first):
                found.append(gathered(_first(own @ means[1].transpose(-1, -2)), first.shape))
            if carries(second):
                found.append(gathered(_first(means[0].transpose(-1, -2) @ own), second.shape))
            return tuple(found)

        return self._applied("matmul", back, output, *filter(carries, (first, second)))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa or is_causal or (attn_mask is not None and attn_mask.dtype == torch.bool):
            raise self._no_rule("scaled_dot_product_attention")
        scores = self._matrices(torch.matmul, (query, key.transpose(-1, -2)), {})
        scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            scores = scores + attn_mask
        weights = self._softmax((scores, -1), {})
        return self._matrices(torch.matmul, (weights, value), {})

    def _maximum(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """The larger of the two maxima goes to its own place: with c = max(y, y'), c - y' to where
        the image has its maximum, y - c to where the reference has it."""
        if "pool" not in name:
            raise self._no_rule(name)
        adaptive = "adaptive" in name
        rest = {k: v for k, v in kwargs.items() if k not in ("input", "return_indices")}
        x, others = (args[0], args[1:]) if args else (kwargs["input"], ())
        dims = x.dim() - 2
        pool = getattr(F, f"{'adaptive_' * adaptive}max_pool{dims}d_with_indices")
        with torch.no_grad():
            output, where = pool(x.detach(), *others[: 1 if adaptive else 5], **rest)
        n = len(x) // 2
        shape, change = x.shape[1:], x.detach()[:n] - x.detach()[n:]
        own, reference = (part.flatten(2) for part in output.chunk(2))
        places = [part.flatten(2) for part in where.chunk(2)]
        larger = torch.maximum(own, reference)
        small = change.abs() <= NEAR * (1 + x.detach()[:n].abs())

        def spread(values: Tensor, at: Tensor) -> Tensor:
            empty = torch.zeros_like(change).reshape(n, shape[0], -1)
            return torch.scatter_add(empty, 2, at, values).reshape(n, *shape)

        def back(m: Tensor) -> tuple[Tensor]:
            flowing = m[:n].reshape(own.shape)
            shares = spread(flowing * (larger - reference), places[0])
            shares = shares + spread(flowing * (own - larger), places[1])
            found = shares / change.where(~small, torch.ones_like(change))
            return (_first(torch.where(small, spread(flowing, places[0]), found)),)

        applied = self._applied(name, back, output, x)
        asked = kwargs.get("return_indices") or True in others[1 if adaptive else 5 :]
        return (applied, where) if asked or "indices" in name else applied


def slopes(x: Tensor, y: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
    """(y - y') / (x - x') of images and references [2n, ...]: [n, ...]; dy / dx where x is x'."""
    (own, reference), (after, before) = x.chunk(2), y.detach().chunk(2)
    change = own - reference
    small = change.abs() <= NEAR * (1 + own.abs())
    found = (after - before) / change.where(~small, torch.ones_like(change))
    if not bool(small.any()):
        return found
    with torch.enable_grad(), torch._C.DisableTorchFunction():
        entered = own.clone().requires_grad_()
        (slope,) = torch.autograd.grad(call(entered * 1).sum(), entered)
    return torch.where(small, slope, found)


def _first(own: Tensor) -> Tensor:
    """Multipliers of images, and none of their references: [n, ...] -> [2n, ...]."""
    return torch.cat([own, torch.zeros_like(own)])


def _between(factor: Any, paired: bool) -> Any:
    """The mean of a factor of images and references, where it is `paired`; else what it is."""
    if not isinstance(factor, Tensor):
        return factor
    if not paired:
        return factor.detach()
    own, reference = factor.detach().chunk(2)
    return (own + reference) / 2

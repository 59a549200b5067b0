"""A pass that shares out what an image changes against a reference: DeepLIFT with its Rescale rule.

The batch holds the images and then, in the same order, their references. What flows back through
autograd is the multiplier m of each value x of an image: m (x - x') is what the value's difference
from its reference x' adds to the target's difference, and at every cut of the network these sum to
the whole of it. A unit that the image silences differs from its reference as much as one that it
excites, so what speaks by silencing gets its share; rules that share out what is there
(:mod:`conceptseg.explain.lrp.propagate`) cannot give it any.

======================================  ======================================================
operation                               multiplier of its input
======================================  ======================================================
convolutions, linear, sums, moves, ...  that of any linear map: its transpose; biases cancel
what acts on each value by itself       (y - y') / (x - x'), the slope where x is near x'
pooling by maximum                      the difference of maxima goes to where the larger one is
products, matrix products               each factor's difference times the mean of the other
quotients, norms of the image's own     the difference of what is scaled times the smaller scale,
                                        that of the scale times the value beside the larger one
softmax, e^(x - log sum e^x)            those of both exponentials and of the logarithm
======================================  ======================================================

Source: Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating
Activation Differences", ICML 2017, arXiv:1704.02685, sections 3.2 and 3.5. Maxima are shared out
as in their code. Of products the paper has nothing; theirs here are Shapley's. The scale 1 / b or
1 / deviation can be huge where the reference is flat, and shares by its mean would be huge and
cancel: hence the smaller one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.explain.lrp.calls import carries, gathered, of_images, pair, taken, terms
from conceptseg.explain.lrp.choices import NEAR
from conceptseg.explain.lrp.chosen import Choosing, Shares
from conceptseg.explain.lrp.frozen import OwnNorm
from conceptseg.explain.lrp.kept import parse
from conceptseg.explain.lrp.names import (
    BY_VALUE,
    LINEAR_MAPS,
    MASKS,
    RATIOS,
    REVERSED_RATIOS,
)
from conceptseg.network.layout import tensors_in


class Rescaling(Choosing):
    """The mode in which a canonised network's pass of images and their references is made."""

    def _handled(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name in LINEAR_MAPS and sum(map(carries, tensors_in([*args, *kwargs.values()]))) > 1:
            raise self._no_rule(name)  # linear in one of them alone, as grids are not
        if name in MASKS:
            return self._masked(name, func, args, kwargs)
        return super()._handled(name, func, args, kwargs)

    def _worth(self, flowing: Tensor, at: Tensor) -> Tensor:
        own, reference = at.detach().chunk(2)
        return flowing[: len(own)] * (own - reference)

    def _silent(self, output: Tensor) -> Tensor:
        own, reference = output.chunk(2)
        return own == reference

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
        if name in BY_VALUE:
            return self._by_value(name, func, args, kwargs)
        if name == "softmax":
            x, axis = pair(args, kwargs, "input", "dim")
            return self._softmax(x, axis)
        raise self._no_rule(name)

    def _sum(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        parts = terms(name, args, kwargs)
        output = self._run(func, args, kwargs)

        def back(m: Tensor) -> tuple[Tensor, ...]:
            return tuple(gathered(m if s == 1 else m * s, t.shape) for t, s in parts)

        return self._applied(name, back, output, *[t for t, _ in parts])

    def _by_value(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        x, others, rest = taken(args, kwargs, "inplace")
        output = self._run(func, args, kwargs)
        if any(map(carries, [*others, *rest.values()])) or output.shape != x.shape:
            raise self._no_rule(name)
        slope = slopes(x.detach(), output, lambda v: func(v, *others, **rest))
        return self._scaled(name, output, [(x, slope)])

    def _softmax(self, x: Tensor, axis: int) -> Tensor:
        """With l = log sum e^x: d e^(x - l) = a (dx - dl) and dl = sum w dx, where a and w are
        means between image and reference, in [0, 1], whatever is added to all x."""
        own, reference = x.detach().chunk(2)
        sums = own.logsumexp(axis, keepdim=True), reference.logsumexp(axis, keepdim=True)
        a = _mean_exponential(own - sums[0], reference - sums[1])
        # sum e^x has the logarithm l, so that the mean of it is that of e^l.
        w = _mean_exponential(own, reference, *sums)

        def back(m: Tensor) -> tuple[Tensor]:
            scaled = m[: len(own)] * a
            return (of_images(scaled - w * scaled.sum(axis, keepdim=True)),)

        return self._applied("softmax", back, x.detach().softmax(axis), x)

    def _own_norm(self, name: str, args: Any, kwargs: Any, func: Any) -> Tensor:
        norm = OwnNorm(name, args, kwargs)
        parts = norm.centred(norm.x)
        squares = self._product("mul", torch.mul, (parts, parts), {})
        variance = squares.mean(norm.axes, keepdim=True) + norm.eps
        scale = variance.detach().rsqrt()
        shares = self._by_scale(
            parts, scale, variance, slopes(variance.detach(), scale, torch.rsqrt)
        )
        return norm.affine(self._scaled(name, parts.detach() * scale, shares))

    def _by_scale(self, value: Tensor, scale: Tensor, source: Tensor, slope: Tensor) -> Shares:
        """Of v s - v' s': (v - v') times the smaller of s and s', (s - s') times the other v."""
        (own, reference), (s, other) = value.detach().chunk(2), scale.chunk(2)
        smaller = s.abs() <= other.abs()
        beside = torch.where(smaller, reference, own)
        return [(value, torch.where(smaller, s, other)), (source, beside * slope)]

    def _product(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = pair(args, kwargs, "input", "other")
        if name in REVERSED_RATIOS:
            first, second = second, first
        output = self._run(func, args, kwargs)
        if name in RATIOS and carries(second):
            scale = second.detach().reciprocal()
            slope = slopes(second.detach(), scale, torch.reciprocal)
            if carries(first):
                return self._scaled(name, output, self._by_scale(first, scale, second, slope))
            return self._scaled(name, output, [(second, slope * self._beside(name, first, second))])
        if name in RATIOS:
            second = 1 / second
        shares = [
            (t, self._beside(name, other, t))
            for t, other in ((first, second), (second, first))
            if carries(t)
        ]
        return self._scaled(name, output, shares)

    def _matrices(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = pair(args, kwargs, "input", "other", "mat2")
        output = self._run(func, args, kwargs)
        left = self._beside("matmul", first, second)
        right = self._beside("matmul", second, first)

        def back(m: Tensor) -> tuple[Tensor, ...]:
            own = m[: len(m) // 2]
            found = []
            if carries(first):
                found.append(gathered(of_images(own @ right.transpose(-1, -2)), first.shape))
            if carries(second):
                found.append(gathered(of_images(left.transpose(-1, -2) @ own), second.shape))
            return tuple(found)

        return self._applied("matmul", back, output, *filter(carries, (first, second)))

    def _beside(self, name: str, factor: Any, partner: Tensor) -> Any:
        """What a factor's partner is multiplied by: the mean of image and reference, or a constant.

        Raises InputError where a factor that carries nothing differs between the two.
        """
        if not isinstance(factor, Tensor):
            return factor
        held = factor.detach()
        if not carries(factor) and (held.dim() < partner.dim() or len(held) != len(partner)):
            return held
        own, reference = held.chunk(2)
        if not carries(factor) and not torch.equal(own, reference):
            raise self._no_rule(name)
        return (own + reference) / 2

    def _weights_of(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        scale: float | None,
        enable_gqa: bool,
    ) -> Tensor:
        if enable_gqa or is_causal or (mask is not None and mask.dtype == torch.bool):
            raise self._no_rule("scaled_dot_product_attention")
        scores = self._matrices(torch.matmul, (query, key.transpose(-1, -2)), {})
        scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
        return self._softmax(scores if mask is None else scores + mask, -1)

    def _maximum(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """The larger of the two maxima goes to its own place: with c = max(y, y'), c - y' to where
        the image has its maximum, y - c to where the reference has it."""
        if "pool" not in name:
            return self._extreme(name, func, args, kwargs)
        adaptive = "adaptive" in name
        x, others, rest = taken(args, kwargs, "return_indices")
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
            return (of_images(torch.where(small, spread(flowing, places[0]), found)),)

        applied = self._applied(name, back, output, x)
        asked = kwargs.get("return_indices") or True in others[1 if adaptive else 5 :]
        return (applied, where) if asked or "indices" in name else applied


def slopes(x: Tensor, y: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
    """(y - y') / (x - x') of images and references [2n, ...]: [n, ...]; dy / dx where x is x'.

    0 where that is infinite: there is no change for it to multiply.
    """
    (own, reference), (after, before) = x.chunk(2), y.detach().chunk(2)
    change = own - reference
    small = change.abs() <= NEAR * (1 + own.abs())
    found = (after - before) / change.where(~small, torch.ones_like(change))
    if not bool(small.any()):
        return found
    with torch.enable_grad(), torch._C.DisableTorchFunction():
        entered = own.clone().requires_grad_()
        (slope,) = torch.autograd.grad(call(entered * 1).sum(), entered)
    return torch.where(small, slope.nan_to_num(0.0, 0.0, 0.0), found)


def _mean_exponential(
    x: Tensor, other: Tensor, whole: Tensor | None = None, before: Tensor | None = None
) -> Tensor:
    """The logarithmic mean (e^x - e^x') / (x - x'), over that of `whole` and `before` if given.

    It is e^((x + x') / 2) sinh(d) / d with d = (x - x') / 2, here by its logarithm.
    """
    found = (x + other) / 2 + _log_sinhc((x - other) / 2)
    if whole is not None and before is not None:
        found = found - (whole + before) / 2 - _log_sinhc((whole - before) / 2)
    return found.exp()


def _log_sinhc(d: Tensor) -> Tensor:
    """log(sinh(d) / d)."""
    size = d.abs().clamp(min=1e-4)  # below it d^2 / 6, which is less than rounding
    return size + torch.log(-torch.expm1(-2 * size) / (2 * size))

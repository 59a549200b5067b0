"""The canonised copy's pass, in which every operation hands relevance on by its rule.

What flows back through autograd in this pass is relevance, not a gradient: each operation that
carries it is replaced, as it is called, by one whose backward is its rule.

======================================  ======================================================
operation                               relevance
======================================  ======================================================
convolutions, linear                    the composite's rule (`kept`)
rectifiers, SiLU, GELU, Hardswish, ...  passed on as it is
norms with running statistics           passed on to x (they are folded into the layer before
                                        where they can be; what they add else goes along to the
                                        layer that reads them and counts as its bias: `constants`)
norms of the image's own statistics     x J^T (R / y), the deviation taken as a constant; under z+
                                        passed on, and the mean with it
sums of two things                      in proportion to what each adds (x R / z); under z+ to the
                                        positive parts, or where there are none by modulus: `shares`
constants added                         take none, as biases (but the last layer's); all of it with
                                        `zero_bias` off
products with a gate or a constant      all to the other factor; of two equals half to each
attention                               to the values; its weights are taken as constants
pooling by mean, resizing, means        x J^T (R / z); under z+ by positive parts
maxima, minima, masks                   to the one that was chosen
moves (concatenation, reshapes, ...)    moved
======================================  ======================================================

A gate is what a sigmoid, softmax or the like put out. R / z is stabilised as Zennit does it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from conceptseg.errors import InputError
from conceptseg.explain.lrp import constants
from conceptseg.explain.lrp.calls import (
    Back,
    Rule,
    carries,
    gathered,
    own_statistics,
    pair,
    stabilised,
    terms,
    without,
)
from conceptseg.explain.lrp.canonise import Canonical
from conceptseg.explain.lrp.composites import Rules
from conceptseg.explain.lrp.constants import FOLLOWED, keep
from conceptseg.explain.lrp.flow import Amount, Flow, Ledger
from conceptseg.explain.lrp.frozen import attention_weights, frozen_norm, norm_factor, own_part
from conceptseg.explain.lrp.graph import WEIGHTED, Where
from conceptseg.explain.lrp.kept import Kept, Weights, parse
from conceptseg.explain.lrp.names import (
    ACTIVATIONS,
    DIFFERENCES,
    GATES,
    LINEAR_MAPS,
    MATRICES,
    MAXIMA,
    MOVES,
    NORMS,
    OWN_NORMS,
    PRODUCTS,
    RATIOS,
    RECTIFIERS,
    REVERSED_RATIOS,
    SUMS,
)
from conceptseg.explain.lrp.places import Placing
from conceptseg.explain.lrp.shares import mean_pooling, of_map, of_product, of_sum
from conceptseg.network.layout import tensors_in

_GATE = "_conceptseg_gate"


class Propagation(TorchFunctionMode):
    """The mode in which a canonised network's pass is made."""

    def __init__(
        self, canonical: Canonical, rules: Rules, weights: Weights, where: Where, ledger: Ledger
    ):
        super().__init__()
        self._canonical, self._rules, self._weights = canonical, rules, weights
        self._where, self._ledger = where, ledger
        self.placing = Placing(canonical.places, where)
        self._even = rules.way == "evenly"
        self._follows = not (self._even or rules.compares)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if name in WEIGHTED:
            self.placing.count()
        if self._rules.plain:
            return func(*args, **kwargs)
        carriers = [t for t in tensors_in([*args, *kwargs.values()]) if t.requires_grad]
        if not carriers:
            return func(*args, **kwargs)
        if self._follows:
            args, kwargs = constants.settled(name, args, kwargs, _GATE)
        output = self._handled(name, func, args, kwargs)
        if self._follows and name in FOLLOWED:
            constants.follow(name, func, args, kwargs, output, _GATE)
        if name in GATES or (
            name not in WEIGHTED
            and name not in ACTIVATIONS
            and all(hasattr(t, _GATE) for t in carriers)
        ):
            for tensor in tensors_in(output):
                if tensor.is_floating_point() and not hasattr(tensor, _GATE):
                    setattr(tensor, _GATE, True)
        return output

    def _handled(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name in WEIGHTED:
            return self._weighted(name, func, args, kwargs)
        if name in ACTIVATIONS:
            return self._activation(name, func, args, kwargs)
        if name in GATES:
            return self._gate(name, func, args, kwargs)
        if name in SUMS or name in DIFFERENCES:
            return self._sum(name, func, args, kwargs)
        if name in PRODUCTS or name in RATIOS:
            return self._product(name, func, args, kwargs)
        if name in MATRICES:
            return self._matrices(func, args, kwargs)
        if name == "scaled_dot_product_attention":
            return self._attention(*args, **kwargs)
        if name in LINEAR_MAPS:
            x = args[0] if args else kwargs["input"]
            return self._linear(name, x, lambda v: func(v, *args[1:], **without(kwargs, "input")))
        if name == "instance_norm" and not own_statistics(args, kwargs):
            return self._activation(name, func, args, kwargs)
        if name in OWN_NORMS:
            return self._own_norm(name, args, kwargs, func)
        if name in MAXIMA:
            return self._maximum(name, func, args, kwargs)
        output = func(*args, **kwargs)
        if name not in MOVES and any(map(carries, tensors_in(output))):
            raise self._no_rule(name)
        return output

    def _no_rule(self, name: str) -> InputError:
        owner = self._where.name
        kinds = dict(self._canonical.model.module.named_modules())
        kind = type(kinds[owner]).__name__ if owner in kinds else "network"
        return InputError(
            f"no rule hands relevance through {name!r} in module {owner!r} ({kind}); "
            "write it with convolutions, linear layers, sums, products and known activations"
        )

    def _run(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """The operation without a graph, and without writing into its input."""
        with torch.no_grad():
            given = [a.detach() if isinstance(a, Tensor) else a for a in args]
            kwargs = {k: v.detach() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
            if kwargs.get("inplace") or getattr(func, "__name__", "").rstrip("_") != getattr(
                func, "__name__", ""
            ):
                given = [a.clone() if isinstance(a, Tensor) else a for a in given]
            output: Tensor = func(*given, **kwargs)
        return output

    def _applied(self, name: str, back: Back, output: Tensor, *inputs: Tensor) -> Tensor:
        """The output, whose relevance `back` hands on to the inputs that carry it."""
        owner, ledger = self._where.name, self._ledger

        def counted(relevance: Tensor) -> tuple[Tensor | None, ...]:
            found = back(relevance)
            if ledger.open:
                pairs = [(f, x) for f, x in zip(found, inputs, strict=True) if f is not None]
                passed = sum((Amount.of(self._worth(f, x)) for f, x in pairs), Amount())
                received, inactive = self._worth(relevance, output), None
                if name in RECTIFIERS:
                    silent = self._silent(output.detach())
                    inactive = float(received.abs()[silent].sum())
                ledger.flows.append(Flow(owner, name, Amount.of(received), passed, inactive))
            return found

        applied: Tensor = Rule.apply(counted, output, *inputs)
        return applied

    def _worth(self, flowing: Tensor, at: Tensor) -> Tensor:
        """The relevance that flows at a tensor."""
        return flowing

    def _silent(self, output: Tensor) -> Tensor:
        """Which units of a rectifier's output say nothing."""
        return output == 0

    def _gate(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        return self._run(func, args, kwargs)

    def _weighted(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        operation, x, parameters = parse(func, name, args, kwargs)
        output = self._run(func, args, kwargs)
        if not carries(x):
            return output
        rule = self._rules.of(name, self.placing.place(parameters[0]))
        own, constant = constants.own(x), constants.constant_of(x)
        # What is made of a weight that only this pass has is of no use to the next.
        weights = self._weights if self.placing.keeps(parameters[0]) else Weights()
        kept = Kept(rule, operation, own, parameters, weights, constant)
        return self._applied(name, lambda r: (kept(r),), output, x)

    def _activation(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        x = args[0] if args else kwargs["input"]
        output = self._run(func, args, kwargs)
        if not carries(x) or output.shape != x.shape:
            return output
        applied = self._applied(name, lambda r: (r,), output, x)
        if name in NORMS and self._follows:
            constants.keep(applied, output - norm_factor(args, kwargs) * x.detach())
        return applied

    def _sum(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = pair(args, kwargs, "input", "other")
        output = self._run(func, args, kwargs)
        inside = bool(self._where.stack)
        carriers = [t for t in (first, second) if carries(t)]
        without_biases = self._rules.zero_bias or not inside
        if len(carriers) == 1 and without_biases:
            only = carriers[0]
            return self._applied(name, lambda r: (gathered(r, only.shape),), output, only)
        parts = terms(name, args, kwargs)
        besides = None
        if len(parts) == 1 and not self._even:
            besides = output - parts[0][0].detach() * parts[0][1]
        shares = of_sum(self._rules.way, [constants.own(t) * s for t, s in parts], besides)

        def back(r: Tensor) -> tuple[Tensor, ...]:
            return tuple(gathered(f, t.shape) for f, (t, _) in zip(shares(r), parts, strict=True))

        return self._applied(name, back, output, *[t for t, _ in parts])

    def _product(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = pair(args, kwargs, "input", "other")
        output = self._run(func, args, kwargs)
        candidates = [first] if name in RATIOS and carries(first) else [first, second]
        if name in REVERSED_RATIOS or (name in RATIOS and not carries(first)):
            return output
        bearing = [t for t in candidates if carries(t) and not hasattr(t, _GATE)]
        # A gate of a gate, or a gate times a constant, has no other factor to give it to.
        bearing = bearing or [t for t in candidates if carries(t)]
        share = 1.0 / len(bearing)

        def back(r: Tensor) -> tuple[Tensor, ...]:
            part = r if share == 1 else r * share
            return tuple(gathered(part, t.shape) for t in bearing)

        return self._applied(name, back, output, *bearing)

    def _matrices(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        both = pair(args, kwargs, "input", "other", "mat2")
        bearing = [i for i, t in enumerate(both) if carries(t) and not hasattr(t, _GATE)]
        bearing = bearing or [i for i, t in enumerate(both) if carries(t)]
        output = self._run(func, args, kwargs)
        held = [t.detach() for t in both]
        backs = [of_product(self._rules.way, held[i], held[1 - i], left=i == 0) for i in bearing]
        share = 1.0 / len(bearing)

        def back(r: Tensor) -> tuple[Tensor, ...]:
            return tuple(one(r * share) for one in backs)

        return self._applied("matmul", back, output, *[both[i] for i in bearing])

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
        weights = self._weights_of(query, key, attn_mask, is_causal, scale, enable_gqa)
        if enable_gqa:
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        if not carries(value) and not carries(weights):
            return weights @ value
        return self._matrices(torch.matmul, (weights, value), {})

    def _weights_of(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        scale: float | None,
        enable_gqa: bool,
    ) -> Tensor:
        return attention_weights(query, key, mask, is_causal, scale, enable_gqa)

    def _linear(self, name: str, x: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        """A linear map without weights."""
        with torch.no_grad():
            output = call(x.detach())
        back = of_map(self._rules.way, constants.own(x), call)
        return self._applied(name, lambda r: (back(r),), output, x)

    def _own_norm(self, name: str, args: Any, kwargs: Any, func: Any) -> Tensor:
        """y = scale (x - mean) + shift by the image's own mean and deviation.

        The deviation is a constant; the map x -> scale (x - mean) is linear. Under rules of
        positive parts the mean is a constant too, and each value's own part passes relevance on.
        """
        x = args[0]
        output = self._run(func, args, kwargs)
        frozen = frozen_norm(name, args, kwargs)
        if self._rules.way == "positive":
            applied: Tensor = Rule.apply(lambda r: (r,), output, x)
            keep(applied, output - own_part(name, args, kwargs))
            return applied
        with torch.enable_grad(), torch._C.DisableTorchFunction():
            entered = x.detach().requires_grad_()
            local = frozen(entered)
        whole = stabilised(local.detach() if self._rules.zero_bias else output)

        def back(r: Tensor) -> tuple[Tensor]:
            with torch.enable_grad():
                g = torch.autograd.grad(local, entered, r / whole, retain_graph=True)[0]
            return (g * entered.detach(),)

        return self._applied(name, back, output, x)

    def _maximum(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if self._follows and "pool" in name:
            found = func(*args, **kwargs)
            x = args[0] if args else kwargs["input"]
            output = next(iter(tensors_in(found)))
            constants.pooled(x, output, constants.with_indices(name, args, kwargs))
            return found
        if not self._even or "pool" not in name:
            return func(*args, **kwargs)
        output = func(*[a.detach() if isinstance(a, Tensor) else a for a in args], **kwargs)
        even = self._linear(name, args[0], mean_pooling(name, args, kwargs))
        if isinstance(output, Tensor) and even.shape == output.shape:
            # The values of the maximum, the relevance of the mean.
            return Rule.apply(lambda r: (r,), output, even)
        return func(*args, **kwargs)

"""Relevance of a network's layers and pixels, whole or of one concept at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.layout import full
from conceptseg.lrp.canonise import canonise, guard
from conceptseg.lrp.composites import CompositeName, rules
from conceptseg.lrp.flow import Flow, Ledger
from conceptseg.lrp.graph import Where
from conceptseg.lrp.kept import Weights
from conceptseg.lrp.propagate import Propagation
from conceptseg.record import find, read, undisturbed

if TYPE_CHECKING:
    from conceptseg.model import SegmentationModel


class Engine:
    """LRP for one network under one composite; `images` [n, c, h, w] are an example of its input.

    The network is copied and canonised once (see :func:`conceptseg.lrp.canonise.canonise`), and
    the copy is refused unless its logits are the network's to 1e-4. Other composites on the same
    network share the copy: `engine.under("flat")`.

    Raises InputError naming the module that has no rule, or that the copy gets wrong.
    """

    def __init__(
        self,
        model: SegmentationModel,
        images: Tensor,
        composite: CompositeName = "epsilon_plus",
        *,
        zero_bias: bool = True,
        gamma: float = 0.25,
    ):
        self.composite, self._gamma, self._zero_bias = composite, gamma, zero_bias
        self.canonical = canonise(model, images)
        self.rules = rules(composite, zero_bias, gamma)
        self._weights = Weights()
        guard(model, self.canonical, lambda: self.run(images[:1]).logits, images)

    def under(self, composite: CompositeName, zero_bias: bool | None = None) -> Engine:
        """The same network under another composite."""
        other = object.__new__(Engine)
        other.composite, other._gamma = composite, self._gamma
        other._zero_bias = self._zero_bias if zero_bias is None else zero_bias
        other.canonical, other._weights = self.canonical, Weights()
        other.rules = rules(composite, other._zero_bias, self._gamma)
        return other

    @property
    def model(self) -> SegmentationModel:
        """The canonised copy."""
        return self.canonical.model

    def check_layer(self, layer: str) -> None:
        """Refuse a layer that relevance passes by within its own block.

        Raises InputError naming the block to take instead.
        """
        find(self.model, layer)
        block = self.canonical.graph.bypass(layer)
        if block is not None:
            raise InputError(
                f"layer {layer!r} lies inside a residual branch of {block!r}, so relevance passes "
                f"it by; name the block, layer: {block}"
            )

    def run(self, images: Tensor, layers: Sequence[str] = ()) -> Run:
        """A pass of images [n, c, h, w], whose graph shares relevance out."""
        return Run(self, images, layers)


class Run:
    """One pass: `logits` [n, k, h, w], `activations` [n, u, y, x] by layer.

    Relevance can be asked for again and again; what the rules need of the pass is kept.
    """

    logits: Tensor
    entry: Tensor

    def __init__(self, engine: Engine, images: Tensor, layers: Sequence[str]):
        self._engine = engine
        self._ledger = Ledger()
        self._held: dict[str, Tensor] = {}
        root = engine.model.module
        where = Where()
        mode = Propagation(engine.canonical, engine.rules, engine._weights, where, self._ledger)
        with ExitStack() as stack:
            stack.enter_context(undisturbed(engine.model))
            stack.enter_context(torch.enable_grad())
            stack.callback(root.register_forward_pre_hook(self._enter).remove)
            stack.enter_context(where.watching(root))
            for layer in layers:
                stack.enter_context(self._watched(layer))
            stack.enter_context(mode)
            self.logits = full(engine.model(images.detach().clone()))
        missing = [layer for layer in layers if layer not in self._held]
        if missing:
            raise InputError(f"layer {missing[0]!r} did not run in the forward pass")
        if not self.logits.requires_grad:
            raise InputError(
                "lrp: no relevance can reach the image from the logits; the network ends in a "
                "softmax or another gate: let it return its logits"
            )

    @property
    def activations(self) -> dict[str, Tensor]:
        return {name: held.detach() for name, held in self._held.items()}

    def _enter(self, module: nn.Module, args: Any) -> Any:
        if not hasattr(self, "entry"):
            self.entry = args[0].detach().requires_grad_()
        return (self.entry.view_as(self.entry), *args[1:])

    @contextmanager
    def _watched(self, layer: str) -> Iterator[None]:
        module, call = find(self._engine.model, layer)
        calls = 0

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls != call + 1:
                return None
            size = (self.entry.shape[2], self.entry.shape[3])
            found, restore = read(layer, module, output, size, self.entry.shape[0])
            if not found.requires_grad:
                raise InputError(f"layer {layer!r} does not depend on the image; choose another")
            self._held[layer] = found
            return restore(found)

        handle = module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def at_layers(self, start: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Relevance [n, u, y, x] that reaches layers from that of the logits [n, k, h, w]."""
        held = [self._held[layer] for layer in layers]
        found = _shared(self.logits, held, self._from(start, self.logits))
        return [self._to(r, a) for r, a in zip(found, held, strict=True)]

    def at_input(self, start: Tensor) -> Tensor:
        """Relevance of the network's input [n, y, x], summed over colours."""
        (found,) = _shared(self.logits, [self.entry], self._from(start, self.logits))
        return self._to(found, self.entry).sum(1)

    def flows(self, start: Tensor) -> tuple[list[Flow], float]:
        """What each operation received and handed on, and what reached the image, in sums."""
        self._ledger.open, self._ledger.flows = True, []
        try:
            reached = float(self.at_input(start).sum())
        finally:
            self._ledger.open = False
        return self._ledger.flows, reached

    def conditional(self, layer: str, parts: Tensor, at_once: int = 1) -> Tensor:
        """Maps [m, n, y, x] of m parts of a layer's relevance, [m, n, u, y, x].

        Each part goes on to the image by itself, along paths through the layer alone. `at_once`
        parts run together, which takes their memory and saves time on a GPU.
        """
        return torch.stack([*self.each(layer, (part for part in parts), at_once)])

    def each(self, layer: str, parts: Iterator[Tensor], at_once: int = 1) -> Iterator[Tensor]:
        """:meth:`conditional`, one map [n, y, x] after the other, of parts [n, u, y, x]."""
        held = self._held[layer]
        waiting: list[Tensor] = []
        for part in parts:
            waiting.append(self._from(part, held))
            if len(waiting) >= at_once:
                yield from self._maps(held, waiting)
                waiting = []
        if waiting:
            yield from self._maps(held, waiting)

    def _maps(self, held: Tensor, parts: list[Tensor]) -> Iterator[Tensor]:
        if len(parts) == 1:
            (found,) = _shared(held, [self.entry], parts[0])
            yield self._to(found, self.entry).sum(1)
            return
        (found,) = torch.autograd.grad(
            held, [self.entry], torch.stack(parts), retain_graph=True, is_grads_batched=True
        )
        for one in found:
            yield self._to(one, self.entry).sum(1)

    def _from(self, relevance: Tensor, at: Tensor) -> Tensor:
        """What autograd is to be given: relevance, or the gradient that times `at` is it."""
        if not self._engine.rules.plain:
            return relevance
        return _quotient(relevance, at.detach())

    def _to(self, found: Tensor, at: Tensor) -> Tensor:
        return found * at.detach() if self._engine.rules.plain else found


def _shared(output: Tensor, inputs: Sequence[Tensor], relevance: Tensor) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = torch.autograd.grad(
        output, inputs, relevance, retain_graph=True, materialize_grads=True
    )
    return found


def channel(relevance: Tensor, unit: int | Sequence[int]) -> Tensor:
    """The part of a layer's relevance [n, u, y, x] that belongs to a unit, or one unit an image."""
    part = torch.zeros_like(relevance)
    if isinstance(unit, int):
        part[:, unit] = relevance[:, unit]
    else:
        rows = torch.arange(len(relevance), device=relevance.device)
        units = torch.as_tensor(list(unit), device=relevance.device)
        part[rows, units] = relevance[rows, units]
    return part


def direction(relevance: Tensor, activation: Tensor, vector: Tensor) -> Tensor:
    """The part that belongs to a direction v [u] of the layer: v (A . v) R / A.

    R / A is what a unit of activation is worth; v (A . v) is the activation's part along v. For
    the vector of one channel it is that channel's relevance. v is brought to unit length.
    """
    v = (vector / vector.norm()).to(activation)[:, None, None]
    along = (activation * v).sum(1, keepdim=True) * v
    return along * _quotient(relevance, activation)


def _quotient(relevance: Tensor, values: Tensor) -> Tensor:
    """R / A, and 0 where A is 0: no relevance stays on what is not there."""
    there = values != 0
    return torch.where(there, relevance / values.where(there, torch.ones_like(values)), 0.0)


def within(relevance: Tensor, mask: Tensor) -> Tensor:
    """The part that lies in a region of the image, [n, h, w] of 0 to 1, at the layer's grid."""
    from torch.nn import functional as F

    share = mask[:, None].to(relevance)
    if share.shape[2:] != relevance.shape[2:]:
        share = F.adaptive_avg_pool2d(share, (relevance.shape[2], relevance.shape[3]))
    return relevance * share


@dataclass(frozen=True)
class Retained:
    """How much relevance a network's operations keep: `reached` of `given` gets to the image.

    `modules`: per module that lost (or gained) some, what its operations received and handed on.
    """

    given: float
    reached: float
    modules: tuple[tuple[str, float, float], ...]

    @property
    def share(self) -> float:
        return self.reached / self.given if self.given else float("nan")


def retained(run: Run, start: Tensor) -> Retained:
    """Where relevance is lost on its way from the logits to the image, summed over the batch."""
    flows, reached = run.flows(start)
    received: dict[str, float] = {}
    passed: dict[str, float] = {}
    for flow in flows:
        received[flow.owner] = received.get(flow.owner, 0.0) + flow.received
        passed[flow.owner] = passed.get(flow.owner, 0.0) + flow.passed
    rows = tuple((name, received[name], passed[name]) for name in received)
    return Retained(float(start.sum()), reached, rows)

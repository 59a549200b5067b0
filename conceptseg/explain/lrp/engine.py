"""Relevance of a network's layers and pixels, whole or of one concept at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.lrp.canonise import canonise, guard
from conceptseg.explain.lrp.composites import CompositeName, rules
from conceptseg.explain.lrp.flow import Amount, Ledger, Retained
from conceptseg.explain.lrp.graph import Where
from conceptseg.explain.lrp.kept import Weights
from conceptseg.explain.lrp.parts import quotient
from conceptseg.explain.lrp.propagate import Propagation
from conceptseg.explain.lrp.rescale import Rescaling
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.blame import Backward
from conceptseg.network.layout import full, read
from conceptseg.network.record import find, undisturbed

if TYPE_CHECKING:
    from conceptseg.network.model import SegmentationModel


MISSING = 0.02
"""Part of a change that may go amiss before a network is refused under `rescale`."""
CHECKED, LEAST_CHANGE = 3, 0.01
"""Classes that are checked for it, and the least change of an image that tells anything."""


class Engine:
    """LRP for one network under one composite; `images` [n, c, h, w] are an example of its input.

    The network is copied and canonised once (:func:`conceptseg.explain.lrp.canonise.canonise`), and
    the copy is refused unless its logits are the network's to 1e-4. Other composites on the same
    network share the copy: `engine.under("flat")`.

    Under `rescale` relevance is a share of what each image changes against its `reference`, a
    filling of its own (:func:`conceptseg.explain.fill.filling`), so no image depends on another.

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
        reference: Fill = "mean",
    ):
        self.composite, self._gamma, self._zero_bias = composite, gamma, zero_bias
        self.reference = reference
        model.settle(images)
        self.canonical = canonise(model, images)
        self.rules = rules(composite, zero_bias, gamma)
        self._weights = Weights()
        self._example = images[:1].detach().clone()
        guard(model, self.canonical, lambda: self.run(images[:1]).logits, images)
        self._check_whole()

    def under(self, composite: CompositeName, zero_bias: bool | None = None) -> Engine:
        """The same network under another composite."""
        other = object.__new__(Engine)
        other.composite, other._gamma = composite, self._gamma
        other._zero_bias = self._zero_bias if zero_bias is None else zero_bias
        other.reference = self.reference
        other.canonical, other._weights = self.canonical, Weights()
        other.rules = rules(composite, other._zero_bias, self._gamma)
        other._example = self._example
        other._check_whole()
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

    def references(self, images: Tensor) -> Tensor | None:
        """What changes of images [n, c, h, w] are counted from; None but under `rescale`."""
        return filling(self.model, images, self.reference) if self.rules.compares else None

    def _check_whole(self) -> None:
        """Refuse a network whose changes are not shared out in full, on the example image.

        Raises InputError naming the module that loses or makes what is amiss, if one does.
        """
        references = self.references(self._example)
        if references is None:
            return
        image = self._example
        if float((image - references).abs().max()) < LEAST_CHANGE:
            image = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
        run = self.run(image)
        everywhere = torch.ones_like(run.logits[:, 0], dtype=torch.bool)
        best = run.logits.mean((0, 2, 3)).argsort(descending=True)[:CHECKED].tolist()
        told = [run.retained(relevance_of_logits(run.evidence, everywhere, c)) for c in best]
        gaps = [abs(one.reached.signed - one.given.signed) for one in told]
        if sum(gaps) <= MISSING * len(told):
            return
        worst = told[max(range(len(gaps)), key=gaps.__getitem__)]
        amiss = worst.reached.signed - worst.given.signed
        guilty = [
            one.name
            for one in worst.modules
            if abs(one.passed.signed - one.received.signed - amiss) <= abs(amiss) / 2
        ]
        where = f"module {guilty[0]!r} does" if guilty else "an operation without a rule does"
        raise InputError(
            f"rescale shares out {worst.reached.signed:.3g} of a change of "
            f"{worst.given.signed:.3g}; "
            f"{where} that; take another composite, or another method"
        )

    def run(
        self, images: Tensor, layers: Sequence[str] = (), references: Tensor | None = None
    ) -> Run:
        """A pass of images [n, c, h, w], whose graph shares relevance out.

        Under `rescale` changes are counted from `references`, by default each image's own.
        """
        return Run(self, images, layers, references)


class Run:
    """One pass: `logits` [n, k, h, w], `activations` [n, u, y, x] by layer.

    Relevance can be asked for again and again; what the rules need of the pass is kept.
    """

    entry: Tensor

    def __init__(
        self,
        engine: Engine,
        images: Tensor,
        layers: Sequence[str],
        references: Tensor | None = None,
    ):
        self._engine = engine
        self._ledger = Ledger()
        self._held: dict[str, Tensor] = {}
        self._count = len(images)
        root = engine.model.module
        where = Where()
        kind = Rescaling if engine.rules.compares else Propagation
        mode = kind(engine.canonical, engine.rules, engine._weights, where, self._ledger)
        self._placing = mode.placing
        with ExitStack() as stack:
            stack.enter_context(undisturbed(engine.model))
            stack.enter_context(torch.enable_grad())
            entered = images.detach().clone()
            if references is None:
                references = engine.references(entered)
            if references is not None:
                entered = torch.cat([entered, references.detach().expand_as(entered)])
            stack.callback(root.register_forward_pre_hook(self._enter).remove)
            stack.enter_context(where.watching(root))
            for layer in layers:
                stack.enter_context(self._watched(layer))
            stack.enter_context(mode)
            self._outputs = full(engine.model(entered))
        missing = [layer for layer in layers if layer not in self._held]
        if missing:
            raise InputError(f"layer {missing[0]!r} did not run in the forward pass")
        if not self._outputs.requires_grad:
            raise InputError(
                "no relevance can reach the image from the logits; the network ends in a "
                "softmax or another gate: let it return its logits"
            )

    @property
    def logits(self) -> Tensor:
        return self._outputs.detach()[: self._count]

    @property
    def activations(self) -> dict[str, Tensor]:
        return {name: held.detach()[: self._count] for name, held in self._held.items()}

    @property
    def compares(self) -> bool:
        """Whether relevance is a share of changes from a reference."""
        return self._engine.rules.compares

    @property
    def evidence(self) -> Tensor:
        """What relevance of the logits is a share of: they, or their change from the reference."""
        return self._worth(self._outputs)

    def worth(self, layer: str) -> Tensor:
        """What relevance of a layer is a share of: its activation, or that one's change."""
        return self._worth(self._held[layer])

    def _worth(self, at: Tensor) -> Tensor:
        own = at.detach()[: self._count]
        return own - at.detach()[self._count :] if self.compares else own

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
            window = self._engine.model.window(size)
            found, restore = read(layer, module, output, size, self.entry.shape[0], window)
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
        found = self._pull(self._outputs, held, self._from(start, self._outputs))
        return [self._to(r, a) for r, a in zip(found, held, strict=True)]

    def at_input(self, start: Tensor) -> Tensor:
        """Relevance of the network's input [n, y, x], summed over colours."""
        (found,) = self._pull(self._outputs, [self.entry], self._from(start, self._outputs))
        return self._to(found, self.entry).sum(1)

    def followed(self, start: Tensor) -> tuple[Tensor, Retained]:
        """Relevance of the network's input [n, y, x], and what became of it on its way there."""
        self._ledger.open, self._ledger.flows = True, []
        try:
            found = self.at_input(start)
        finally:
            self._ledger.open = False
        # Both without channels: what several logits take of one pixel's score is one amount.
        given = Amount.of(start.sum(1))
        lost = self._placing.unplaced() if self._engine.rules.by_place else ()
        return found, Retained.of(given, Amount.of(found), self._ledger.flows, lost)

    def retained(self, start: Tensor) -> Retained:
        """Where relevance is lost, or grows, between the logits and the image, over the batch."""
        return self.followed(start)[1]

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
            (found,) = self._pull(held, [self.entry], parts[0])
            yield self._to(found, self.entry).sum(1)
            return
        (found,) = self._pull(held, [self.entry], torch.stack(parts), batched=True)
        for one in found:
            yield self._to(one, self.entry).sum(1)

    def _pull(
        self, output: Tensor, inputs: Sequence[Tensor], relevance: Tensor, batched: bool = False
    ) -> tuple[Tensor, ...]:
        with Backward(self._engine.model.name):
            found: tuple[Tensor, ...] = torch.autograd.grad(
                output, inputs, relevance, retain_graph=True, is_grads_batched=batched,
                materialize_grads=not batched,
            )  # fmt: skip
        return found

    def _from(self, relevance: Tensor, at: Tensor) -> Tensor:
        """What autograd is to be given: relevance, or the multiplier that times worth is it."""
        if not self._engine.rules.multiplies:
            return relevance
        found = quotient(relevance, self._worth(at))
        return torch.cat([found, torch.zeros_like(found)]) if self.compares else found

    def _to(self, found: Tensor, at: Tensor) -> Tensor:
        if not self._engine.rules.multiplies:
            return found
        return found[: self._count] * self._worth(at)

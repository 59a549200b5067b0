"""What a network's decision loses when a layer no longer tells positions and images apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.network.levels import Levels, balanced

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

ROUNDING = 1e-10
"""Share of a layer's mean square below which its variance is rounding."""
SIDE = 160
"""Predictions are compared at pixels of a regular grid, about so many each way."""

Change = Callable[[str, "Tensor", int], "Tensor"]
"""A layer, its output for some images, and which of all is their first -> another output."""


@dataclass(frozen=True)
class Worth:
    """What is lost, both 0 (nothing) to 1 (all).

    `prediction`: 1 - mean IoU, over the classes that are predicted, of the prediction with that of
    the undisturbed network. `logits`: the share of the logits' variation over pixels and images
    that is not kept, 1 - R^2, not below 0; what all classes have in common does not count. It tells
    layers apart where one class wins everywhere, whatever is done.
    """

    prediction: float
    logits: float


class Weigher:
    """Some images [n, c, h, w] under one network; counts the images that it sends through it.

    They go through `batch_size` at a time, which changes nothing beyond rounding.
    """

    def __init__(self, model: Network, images: Tensor, batch_size: int):
        self.model = model
        self.parts = images.split(max(1, batch_size))
        self.passed = 0
        self.means: dict[str, Tensor] = {}
        self.variances: dict[str, float] = {}
        self.shapes: dict[str, torch.Size] = {}
        self._clean: Tensor | None = None

    @property
    def several(self) -> bool:
        """Whether there is another image to take a layer's output from."""
        return sum(len(part) for part in self.parts) > 1

    def record(self, layers: Sequence[str]) -> bool:
        """One pass as the network is; each layer's mean over images and positions [u].

        And its variance over these, summed over units; of rounding alone it is 0. Returns whether
        the logits are numbers.
        """
        from conceptseg.network.record import Recorder

        sums: dict[str, Tensor] = {}
        squares: dict[str, float] = {}
        logits = []
        for part in self.parts:
            with torch.no_grad(), Recorder(self.model, layers) as recorder:
                logits.append(self._thinned(recorder(part)))
            self.passed += len(part)
            for name, one in recorder.activations.items():
                self.shapes[name] = one.shape
                total = one.detach().double().mean((2, 3)).sum(0)
                sums[name] = sums[name] + total if name in sums else total
                square = float(one.detach().double().square().mean((2, 3)).sum())
                squares[name] = squares.get(name, 0.0) + square
        count = sum(len(part) for part in self.parts)
        self.means = {name: (total / count).float() for name, total in sums.items()}
        for name, total in sums.items():
            whole = squares[name] / count
            varies = whole - float((total / count).square().sum())
            self.variances[name] = varies if varies > ROUNDING * whole else 0.0
        self._clean = torch.cat(logits)
        return bool(self._clean.isfinite().all())

    def without(self, *layers: str) -> Worth | None:
        """What is lost when layers' outputs are their means everywhere; None if they cannot be."""
        means = {layer: self.means[layer][None, :, None, None] for layer in layers}
        return self._edited(
            layers, lambda layer, found, start: means[layer].to(found).expand_as(found)
        )

    def exchanged(self, *layers: str) -> Worth | None:
        """What is lost when each image gets the next one's outputs of the layers."""
        from conceptseg.network.record import Recorder

        own: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        for part in self.parts:
            with torch.no_grad(), Recorder(self.model, layers, stop=True) as recorder:
                recorder(part)
            self.passed += len(part)
            for layer, held in own.items():
                held.append(recorder.activations[layer].detach())
        others = {layer: torch.cat(held).roll(1, 0) for layer, held in own.items()}
        return self._edited(
            layers,
            lambda layer, found, start: others[layer][start : start + len(found)].to(found),
        )

    def _edited(self, layers: Sequence[str], change: Change) -> Worth | None:
        from conceptseg.network.record import Recorder

        logits, start = [], 0
        for part in self.parts:
            edit = {
                layer: lambda found, layer=layer, at=start: change(layer, found, at)
                for layer in layers
            }
            try:
                with torch.no_grad(), Recorder(self.model, [], edit=edit) as recorder:
                    logits.append(self._thinned(recorder(part)))
            except InputError:  # a layer that cannot be written back, or a network that minds
                return None
            self.passed += len(part)
            start += len(part)
        return self._compared(torch.cat(logits))

    def _compared(self, after: Tensor) -> Worth:
        assert self._clean is not None, "record comes first"
        return compared(self._clean, after)

    @staticmethod
    def _thinned(logits: Tensor | None) -> Tensor:
        assert logits is not None, "the pass was not stopped"
        step = max(1, min(logits.shape[2:]) // SIDE)
        return logits.detach()[:, :, step // 2 :: step, step // 2 :: step].float()


def compared(before: Tensor, after: Tensor) -> Worth:
    """What logits [n, k, h, w] lose when they become others. Those that are not finite are lost."""
    finite = after.isfinite().all(1)
    then = after.argmax(1).where(finite, torch.full_like(finite, -1, dtype=torch.int64))
    now = before.argmax(1)
    overlaps = []
    for c in now.unique():
        one, other = now == c, then == c
        overlaps.append(float((one & other).sum()) / float((one | other).sum()))
    z = before - before.mean(1, keepdim=True)
    moved = (after - after.mean(1, keepdim=True) - z).square().sum(1)
    spread = (z - z.mean((0, 2, 3), keepdim=True)).square().sum(1)
    lost = float(moved.where(finite, spread).double().sum())
    total = float(spread.double().sum())
    return Worth(1 - sum(overlaps) / len(overlaps), min(1.0, lost / total) if total > 0 else 0.0)


def levels_of(model: Network, images: Tensor, names: Sequence[str], batch_size: int) -> Levels:
    """Layers, with factors by which none of several dominates (:func:`.levels.balanced`).

    Raises :class:`~conceptseg.errors.InputError` for a layer that is named twice, runs within
    another of them, or is the same everywhere on all of `images`.
    """
    from conceptseg.network.record import Tail

    if len(names) == 1:
        return Levels(tuple(names))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"layers: {twice[0]!r} is named twice")
    Tail.of(model, images[:1], Levels(tuple(names)))
    weigher = Weigher(model, images, batch_size)
    weigher.record(names)
    return balanced(names, [weigher.variances[name] for name in names])

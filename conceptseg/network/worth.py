"""What a network's decision loses when a layer no longer tells positions and images apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conceptseg.errors import InputError

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

SIDE = 160
"""Predictions are compared at pixels of a regular grid, about so many each way."""


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
        self.shapes: dict[str, torch.Size] = {}
        self._clean: Tensor | None = None

    @property
    def several(self) -> bool:
        """Whether there is another image to take a layer's output from."""
        return sum(len(part) for part in self.parts) > 1

    def record(self, layers: Sequence[str]) -> bool:
        """One pass as the network is; each layer's mean over images and positions [u].

        Returns whether the logits are numbers.
        """
        from conceptseg.network.record import Recorder

        sums: dict[str, Tensor] = {}
        logits = []
        for part in self.parts:
            with torch.no_grad(), Recorder(self.model, layers) as recorder:
                logits.append(self._thinned(recorder(part)))
            self.passed += len(part)
            for name, one in recorder.activations.items():
                self.shapes[name] = one.shape
                total = one.detach().double().mean((2, 3)).sum(0)
                sums[name] = sums[name] + total if name in sums else total
        count = sum(len(part) for part in self.parts)
        self.means = {name: (total / count).float() for name, total in sums.items()}
        self._clean = torch.cat(logits)
        return bool(self._clean.isfinite().all())

    def without(self, layer: str) -> Worth | None:
        """What is lost when the layer's output is its mean everywhere; None if it cannot be set."""
        mean = self.means[layer][None, :, None, None]
        return self._edited(layer, lambda found, start: mean.to(found).expand_as(found))

    def exchanged(self, layer: str) -> Worth | None:
        """What is lost when each image gets the next one's output of the layer."""
        from conceptseg.network.record import encode

        own = torch.cat([encode(self.model, part, layer) for part in self.parts])
        self.passed += len(own)
        other = own.roll(1, 0)
        return self._edited(layer, lambda found, start: other[start : start + len(found)].to(found))

    def _edited(self, layer: str, change: Callable[[Tensor, int], Tensor]) -> Worth | None:
        from conceptseg.network.record import Recorder

        logits, start = [], 0
        for part in self.parts:
            edit = {layer: lambda found, at=start: change(found, at)}
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

"""Interventions: one layer's activation is changed, others are held, and what follows is seen."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.contract import Network
from conceptseg.network.record import Recorder, Tail

Scores = Sequence[FixedTarget]


class Wires:
    """A batch of n images, and the clean activations [n, u, y, x] of layers in running order.

    What it measures are scores [n, c] of c classes: mean margin (log-odds) over the region where
    the class is predicted in the clean pass; 0 where it is not.
    """

    def __init__(self, model: Network, images: Tensor, layers: Sequence[str]):
        self.model, self.images, self.layers = model, images, tuple(layers)
        with torch.no_grad(), Recorder(model, layers) as recorder:
            logits = recorder(images)
        assert logits is not None
        self.logits = logits.detach()
        self.clean = [recorder.activations[name].detach() for name in layers]
        self._tails: dict[int, Tail] = {}

    def targets(self, classes: Sequence[int]) -> Scores:
        return [Target(c).on(self.logits) for c in classes]

    def run(
        self,
        layer: int,
        activation: Tensor,
        held: Mapping[int, Tensor],
        read: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Logits with a layer's activation replaced, and what the layer `read` puts out then.

        `held` are later layers by their place, whose activations are what is given, whatever comes
        in. Modules that had finished before the layer are not run again.
        """
        if layer not in self._tails:
            self._tails[layer] = Tail.of(self.model, self.images, self.layers[layer])
        edit = {self.layers[place]: partial(_given, value) for place, value in held.items()}
        wanted = [] if read is None else [self.layers[read]]
        with torch.no_grad(), Recorder(self.model, wanted, edit=edit) as recorder:
            logits = self._tails[layer].resume(activation)
        return logits, None if read is None else recorder.activations[wanted[0]].detach()

    def between(self, first: int, last: int) -> dict[int, Tensor]:
        """The clean activations of the layers between two, or behind the first."""
        return {place: self.clean[place] for place in range(first + 1, last)}

    def behind(self, layer: int) -> dict[int, Tensor]:
        return self.between(layer, len(self.layers))

    def gradients(self, scores: Scores) -> list[list[Tensor]]:
        """d score / d activation, [c][layers] of [n, u, y, x]: whatever way it takes."""
        with Recorder(self.model, self.layers, gradients=True) as recorder:
            recorder(self.images)
            found = [recorder.gradient(score) for score in scores]
        return [[one[name].detach() for name in self.layers] for one in found]

    def direct_gradients(self, scores: Scores, layer: int) -> list[Tensor]:
        """The same of one layer, [c] of [n, u, y, x], with all later layers held."""
        name = self.layers[layer]
        edit = {self.layers[at]: partial(_given, value) for at, value in self.behind(layer).items()}
        with Recorder(self.model, [name], gradients=True, edit=edit) as recorder:
            recorder(self.images)
            return [recorder.gradient(score)[name].detach() for score in scores]


def _given(value: Tensor, found: Tensor) -> Tensor:
    return value


def swapped(activation: Tensor, units: Tensor, other: Tensor) -> Tensor:
    """An activation [n, u, y, x] with some units' maps taken from another (which may be [u])."""
    source = other[None, :, None, None].expand_as(activation) if other.dim() == 1 else other
    changed = activation.clone()
    changed[:, units] = source[:, units]
    return changed


def scored(scores: Scores, logits: Tensor) -> Tensor:
    """Scores [n, c], float64, in memory."""
    return torch.stack([score(logits).double() for score in scores], 1).cpu()

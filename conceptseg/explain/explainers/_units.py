"""Which units of a layer a method that takes a pass for each of them looks at."""

import torch
from torch import Tensor

from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget
from conceptseg.network.record import encode, find


def units_of(scene: Scene, layer: str, channels: int | None = None) -> int:
    """How many units a layer has, at most `channels`; of a convolution without a pass."""
    name = scene.layer(layer)
    made = getattr(find(scene.model, name)[0], "out_channels", None)
    units = made if isinstance(made, int) else encode(scene.model, scene.images, name).shape[1]
    return units if channels is None else min(units, channels)


def busiest(activation: Tensor, live: Tensor, channels: int | None) -> tuple[Tensor, Tensor]:
    """Units of a layer to be looked at, for each image: their numbers [n, q] and which count.

    Of an activation [n, u, y, x] the units marked in `live` [n, u] come first, in falling order
    of their mean square. q is the number of live units of the image that has most, at most
    `channels`; the booleans [n, q] are false where an image has no q live units.
    """
    energy = activation.square().mean((2, 3)).masked_fill(~live, -1.0)
    order = energy.argsort(stable=True, dim=1, descending=True)
    most = int(live.sum(1).max())
    order = order[:, : most if channels is None else min(most, channels)]
    return order, live.gather(1, order)


def probability(logits: Tensor, score: FixedTarget) -> Tensor:
    """The class's probability in the target's region, 0 elsewhere, [n, h, w]."""
    return torch.softmax(logits, 1)[:, score.class_id] * score.mask

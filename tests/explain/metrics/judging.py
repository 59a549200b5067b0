"""Trials with known maps, networks whose scores are sums, and metrics by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from conceptseg.explain.contract import Explainer, Trial
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.small_models import balanced, seeded, wrapped

Rule = Callable[[Scene, Target], Tensor]


def explainer(rule: Rule) -> Explainer:
    """An explainer whose map for one target is the rule's."""

    class Ruled(Explainer):
        def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
            return torch.stack([rule(scene, target) for target in targets])

    return Ruled()


def brightness(scene: Scene, target: Target) -> Tensor:
    """A map that knows the image alone."""
    return scene.images.mean(1)


def trial(
    model: SegmentationModel,
    images: Tensor,
    maps: Tensor | None = None,
    target: Target | None = None,
    *,
    context: Tensor | None = None,
    rule: Rule = brightness,
    labels: Tensor | None = None,
    batch_size: int = 8,
) -> Trial:
    """A trial of a given map, or else of the rule's own."""
    scene = Scene(model, images, labels, batch_size=batch_size)
    target = Target(1) if target is None else target
    method = explainer(rule)
    maps = method.on(scene, [target])[0] if maps is None else maps
    return Trial(scene, method, target, maps, context)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values of a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pointwise(classes: int = 3) -> SegmentationModel:
    """A network that sees each pixel alone."""
    return balanced(wrapped(seeded(nn.Conv2d, 3, classes, 1), classes), "")


class Sum(nn.Module):
    """Two classes: 0, and a weighted sum over all pixels, the same at each position."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        total = (x * self.weight).sum((1, 2, 3))
        logits = torch.stack((torch.zeros_like(total), total), 1)
        return logits[:, :, None, None].expand(-1, -1, *x.shape[2:])


def additive(h: int, w: int, channels: int = 1, seed: int = 0) -> SegmentationModel:
    """A network whose margin is the sum of what single pixels contribute: weight times value."""
    return wrapped(Sum(noise(channels, h, w, seed=seed)), 2, channels)


def contributions(model: SegmentationModel, images: Tensor) -> Tensor:
    """What each pixel adds to the margin of `additive`, [n, h, w]."""
    return (images * model.module.weight.detach()).sum(1)

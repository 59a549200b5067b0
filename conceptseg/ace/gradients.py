"""Gradients of every class's score at a layer, at the images and along paths to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from conceptseg.data import sample_priority
from conceptseg.record import Tail, encode
from conceptseg.target import FixedTarget, Predicted, ScoreName, Target

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.contracts import Context

MIN_REGION_PX = 64
MIN_REGION_FRACTION = 0.0005


def min_region(height: int, width: int) -> float:
    """Pixels that a class must cover in an image to be studied there."""
    return max(MIN_REGION_PX, MIN_REGION_FRACTION * height * width)


@dataclass(frozen=True)
class ClassGradients:
    """Of one image: the classes it holds, and the gradients of their targets at a layer.

    `classes` [k]; `local` and `path` [k, 2, u]: summed over positions inside and outside of the
    class's region, at the image itself and averaged along paths to it.
    """

    classes: tuple[int, ...]
    local: Tensor
    path: Tensor


class Targets:
    """The targets of all classes in a batch, so arranged that few backward passes do.

    Images do not influence each other, so one pass can serve another class in each image: there
    are as many rounds as the image with most classes has classes.
    """

    def __init__(self, logits: Tensor, class_ids: Sequence[int], score: ScoreName) -> None:
        """Fix each class's region, where it is predicted in logits [n, k, h, w]."""
        n, _, height, width = logits.shape
        fixed = {c: Target(c, Predicted(c), score=score).on(logits) for c in class_ids}
        least = min_region(height, width)
        present = {c: (fixed[c].pixels >= least).tolist() for c in class_ids}
        self.classes = [tuple(c for c in class_ids if present[c][i]) for i in range(n)]
        self._fixed = fixed
        self.rounds = [self._round(turn, n) for turn in range(max(map(len, self.classes)))]

    def _round(self, turn: int, n: int) -> list[FixedTarget]:
        """Each image's `turn`-th class: the targets, blank in images that have another's turn."""
        chosen = [held[turn] if turn < len(held) else None for held in self.classes]
        targets = []
        for c in sorted({c for c in chosen if c is not None}):
            mask = self._fixed[c].mask
            mine = torch.tensor([c == other for other in chosen], device=mask.device)
            targets.append(replace(self._fixed[c], mask=mask & mine[:, None, None]))
        return targets

    def gradients(self, logits: Tensor, activation: Tensor) -> list[Tensor]:
        """Per round, gradients [n, 2, u] summed inside and outside each image's class's region."""
        found = []
        for targets in self.rounds:
            total = sum((target(logits).sum() for target in targets), logits.new_zeros(()))
            (gradient,) = torch.autograd.grad(total, activation, retain_graph=True)
            mask = torch.stack([target.mask for target in targets]).any(0)
            inside = on_grid(mask, gradient.shape[-2:])
            parts = [(gradient.float() * w).flatten(2).sum(-1) for w in (inside, 1 - inside)]
            found.append(torch.stack(parts, 1))
        return found


def class_gradients(
    tail: Tail, class_ids: Sequence[int], score: ScoreName, references: Sequence[Tensor]
) -> list[ClassGradients]:
    """For each image of a tail made with `graph`, its classes' gradients.

    A network that is sure of a class is flat there: whatever made it sure, more of it changes
    nothing, and the local gradient is blind to it. So the gradient is averaged as well along
    straight paths, in the layer, from reference images to the image: reference j of r serves the
    point (j + 1/2)/r of the way. Without references the path's gradient is the local one.

    Source: expected gradients, Erion et al. 2021 (arXiv 1906.10670), eq. 4; for concepts, Schrouff
    et al. 2021 (arXiv 2106.08641).
    """
    targets = Targets(tail.logits.detach(), class_ids, score)
    n, u = tail.activation.shape[:2]
    local = targets.gradients(tail.logits, tail.activation)
    path = [torch.zeros_like(part) for part in local]
    for j, reference in enumerate(references):
        here = tail.activation.detach()
        there = F.interpolate(reference, here.shape[-2:], mode="bilinear", align_corners=False)
        point = torch.lerp(there.expand_as(here), here, (j + 0.5) / len(references))
        point.requires_grad_(True)
        with torch.enable_grad():
            logits = tail.resume(point)
        for total, part in zip(path, targets.gradients(logits, point), strict=True):
            total += part / len(references)
    if not references:
        path = local
    empty = tail.activation.new_zeros((0, 2, u)).float()
    return [
        ClassGradients(
            held,
            torch.stack([local[turn][i] for turn in range(len(held))]) if held else empty,
            torch.stack([path[turn][i] for turn in range(len(held))]) if held else empty,
        )
        for i, held in enumerate(targets.classes)
    ]


def reference_activations(context: Context, count: int) -> tuple[Tensor, ...]:
    """The layer's activation [1, u, y, x] for `count` images of the data set, drawn by hash."""
    ranked = sorted(
        context.manifest.samples,
        key=lambda sample: sample_priority(context.seed, f"reference/{sample.id}"),
    )
    found = []
    for sample in ranked[:count]:
        image = torch.from_numpy(context.manifest.image(sample))[None].to(context.run.device)
        found.append(encode(context.model, image, context.layer))
    return tuple(found)


def on_grid(mask: Tensor, grid: Sequence[int]) -> Tensor:
    """Share of each cell of a y x x grid that a mask [n, h, w] covers, float [n, 1, y, x]."""
    return F.adaptive_avg_pool2d(mask[:, None].float(), (int(grid[0]), int(grid[1])))

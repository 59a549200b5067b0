"""Gradients of every class's score at a layer, at the images and along paths to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.config import TargetConfig
from conceptseg.data.draw import drawn, sample_priority
from conceptseg.data.labels import IGNORE
from conceptseg.engine.contract import Context
from conceptseg.explain.target import FixedTarget, configured
from conceptseg.network.blame import Backward
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail, encode

MIN_REGION_PX = 64
MIN_REGION_FRACTION = 0.0005


def min_region(height: int, width: int) -> float:
    """Pixels that a class must cover in an image to be studied there."""
    return max(MIN_REGION_PX, MIN_REGION_FRACTION * height * width)


def needs_labels(config: TargetConfig) -> bool:
    """Whether the region that a class is scored on is made from labels."""
    return configured(config, 0).where.needs_labels


@dataclass(frozen=True)
class ClassGradients:
    """Of one image: the classes it holds, and the gradients of their targets at a layer.

    `classes` [k]; `local` and `path` [k, 2, u]: summed over positions inside and outside of where
    the class is predicted, at the image itself and averaged along paths to it.
    """

    classes: tuple[int, ...]
    local: Tensor
    path: Tensor


class Targets:
    """The targets of all classes in a batch, so arranged that few backward passes do.

    Images do not influence each other, so one pass can serve another class in each image: there
    are as many rounds as the image with most classes has classes.
    """

    def __init__(
        self,
        logits: Tensor,
        class_ids: Sequence[int],
        config: TargetConfig,
        labels: Tensor | None = None,
    ) -> None:
        """Fix each class's target by logits [n, k, h, w] and labels [n, h, w].

        An image without labels (None, or -1 everywhere) holds no class whose region needs them.
        """
        n, _, height, width = logits.shape
        if labels is None:
            labels = torch.full((n, height, width), IGNORE, device=logits.device)
        prediction = label_map(logits)
        fixed = {c: configured(config, c).on(logits, labels, prediction) for c in class_ids}
        least = min_region(height, width)
        present = {c: (fixed[c].pixels >= least).tolist() for c in class_ids}
        self.classes = [tuple(c for c in class_ids if present[c][i]) for i in range(n)]
        self.rounds: list[tuple[list[FixedTarget], Tensor]] = []
        """Of each image's class whose turn it is: the targets, blank in images that have another's
        turn, and where it is predicted, bool [n, h, w]."""
        for turn in range(max(map(len, self.classes))):
            turns = [held[turn] if turn < len(held) else -1 for held in self.classes]
            chosen = torch.tensor(turns, device=logits.device)[:, None, None]
            targets = [
                replace(fixed[c], mask=fixed[c].mask & (chosen == c))
                for c in sorted({*turns} - {-1})
            ]
            self.rounds.append((targets, prediction == chosen))

    def gradients(self, logits: Tensor, activation: Tensor) -> Tensor:
        """Gradients [n, rounds, 2, u], summed inside and outside each class's predicted region.

        That is where a class lies whatever region its score is read on.
        """
        n, u = activation.shape[:2]
        summed = [activation.new_zeros((n, 0, 2, u), dtype=torch.float32)]
        for targets, there in self.rounds:
            total = sum((target(logits).sum() for target in targets), logits.new_zeros(()))
            (gradient,) = torch.autograd.grad(total, activation, retain_graph=True)
            inside = on_grid(there, gradient.shape[-2:])
            parts = [(gradient.float() * w).flatten(2).sum(-1) for w in (inside, 1 - inside)]
            summed.append(torch.stack(parts, 1)[:, None])
        return torch.cat(summed, 1)


def class_gradients(
    tail: Tail,
    class_ids: Sequence[int],
    config: TargetConfig,
    references: Sequence[Tensor],
    labels: Tensor | None = None,
    logits: Tensor | None = None,
) -> list[ClassGradients]:
    """For each image of a tail made with `graph`, its classes' gradients.

    The targets are fixed by `logits`, of another network perhaps; by default by the tail's own.

    A network that is confident of a class is flat there: whatever made it so, more of it changes
    nothing, and the local gradient is blind to it. So the gradient is averaged as well along
    straight paths, in the layer, from other images to the image: `references` holds r activations
    [n, u, y, x] (or [1, u, y, x] for all images), and the j-th serves the point (j + 1/2)/r of the
    way. Without references the path's gradient is the local one.

    Source: expected gradients, Erion et al. 2021 (arXiv 1906.10670), eq. 4; for concepts, Schrouff
    et al. 2021 (arXiv 2106.08641).
    """
    fixed_by = tail.logits.detach() if logits is None else logits
    targets = Targets(fixed_by, class_ids, config, labels)
    with Backward(tail.model.name):
        local = targets.gradients(tail.logits, tail.activation)
    path = torch.zeros_like(local) if references else local
    for j, reference in enumerate(references):
        here = tail.activation.detach()
        point = torch.lerp(reference.expand_as(here), here, (j + 0.5) / len(references))
        point.requires_grad_(True)
        with torch.enable_grad():
            here_logits = tail.resume(point)
        with Backward(tail.model.name):
            path += targets.gradients(here_logits, point) / len(references)
    # Copies, for a view would keep the rows of all other images.
    return [
        ClassGradients(held, *(each[i, : len(held)].clone() for each in (local, path)))
        for i, held in enumerate(targets.classes)
    ]


POOL = 32
"""Images that serve as references; each image takes a few of them, drawn by hash."""


class References:
    """Activations [u, y, x] of images of the data set, from which paths lead to other images.

    Each image has its own few, so that what the gradients say does not hang on which few images
    happened to be drawn for all.
    """

    def __init__(self, context: Context, count: int) -> None:
        """`count` for each image, from a pool of `POOL` that is drawn by hash and encoded once."""
        self._context, self._count = context, count

    @cached_property
    def _pool(self) -> list[Tensor]:
        """Encoded at the first use: a pass whose shards are all saved needs none."""
        context, pool = self._context, []
        names = (f"reference/{name}" for name in context.manifest.ids)
        for name in drawn(context.seed, names, POOL):
            sample = context.manifest.sample(name.removeprefix("reference/"))
            image = torch.from_numpy(context.manifest.image(sample))[None].to(context.run.device)
            pool.append(encode(context.model, image, context.levels))
        return pool

    def of(self, ids: Sequence[str], grid: Sequence[int]) -> list[Tensor]:
        """For each point of the path, the references of n images on a y x x grid: [n, u, y, x]."""
        size = (int(grid[0]), int(grid[1]))

        def drawn(key: str) -> Tensor:
            chosen = self._pool[sample_priority(self._context.seed, key) % len(self._pool)]
            return F.interpolate(chosen, size, mode="bilinear", align_corners=False)

        return [torch.cat([drawn(f"{j}/{name}") for name in ids]) for j in range(self._count)]


def on_grid(mask: Tensor, grid: Sequence[int]) -> Tensor:
    """Share of each cell of a y x x grid that a mask [n, h, w] covers, float [n, 1, y, x]."""
    return F.adaptive_avg_pool2d(mask[:, None].float(), (int(grid[0]), int(grid[1])))

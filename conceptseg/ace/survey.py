"""First sweep of ACE: segments, their embeddings, and each class's gradient at the layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.contracts import Carry, Context, Pass, State
from conceptseg.data import sample_priority
from conceptseg.record import Tail
from conceptseg.segments import ring, segment
from conceptseg.stats.moments import Moments
from conceptseg.stats.sample_table import SampleTable
from conceptseg.target import Predicted, Target

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data import Batch
    from conceptseg.study.ace import Ace

MIN_REGION_PX = 64
MIN_REGION_FRACTION = 0.0005


def min_region(height: int, width: int) -> float:
    """Pixels that a class must cover in an image to be studied there."""
    return max(MIN_REGION_PX, MIN_REGION_FRACTION * height * width)


@dataclass(frozen=True)
class Survey(Pass):
    """One forward per image and one backward of the tail per class that is present."""

    study: Ace

    name = "survey"
    cost = "1 forward + 1 tail backward per class, per image"

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        tail = Tail.of(context.model, batch.images, context.layer, graph=True)
        context.model.check_finite(tail.logits, batch.ids)
        prediction = tail.logits.detach().argmax(1)
        gradients = self._gradients(context, tail, prediction)
        table = SampleTable.empty(self.study.images_per_class)
        moments = Moments.empty(tail.activation.shape[1])
        predicted = prediction.cpu().numpy()
        for i, sample_id in enumerate(batch.ids):
            present = tuple(
                c
                for c in self.study.class_ids(context)
                if c in gradients and gradients[c].present[i]
            )
            one = self._sample(
                batch.images[i].cpu().numpy(),
                tail.activation[i].detach(),
                predicted[i],
                None if batch.labels is None else batch.labels[i].cpu().numpy(),
                {c: (gradients[c].inside[i], gradients[c].outside[i]) for c in present},
                len(context.model.classes),
            )
            table = table.merge(
                SampleTable.of(
                    sample_id,
                    one,
                    priority=sample_priority(context.seed, sample_id),
                    classes=present,
                    capacity=self.study.images_per_class,
                )
            )
            grid = tail.activation[i].detach().flatten(1).T.float().cpu().numpy()
            moments = moments.merge(Moments.of(grid))
        return {"segments": table, "activation": moments}

    def _gradients(self, context: Context, tail: Tail, prediction: Tensor) -> dict[int, _Gradient]:
        """Of each class that is present in the batch, the gradient of its target."""
        height, width = prediction.shape[-2:]
        found = {}
        for c in self.study.class_ids(context):
            area = (prediction == c).flatten(1).sum(1)
            present = (area >= min_region(height, width)).cpu().numpy()
            if not present.any():
                continue
            target = Target(c, Predicted(c), score=self.study.score).on(tail.logits.detach())
            gradient = tail.gradient(target, retain=True).float()
            weight = on_grid(target.mask, gradient.shape[-2:])
            inside = (gradient * weight).flatten(2).sum(-1)
            outside = (gradient * (1 - weight)).flatten(2).sum(-1)
            found[c] = _Gradient(present, inside.cpu().numpy(), outside.cpu().numpy())
        return found

    def _sample(
        self,
        image: np.ndarray,
        activation: Tensor,
        predicted: np.ndarray,
        labels: np.ndarray | None,
        gradients: dict[int, tuple[np.ndarray, np.ndarray]],
        n_classes: int,
    ) -> dict[str, np.ndarray]:
        """The tables of one image: a row per segment, a row per class that is present."""
        import torch

        study = self.study
        found = segment(image, study.scales, compactness=study.compactness, sigma=study.sigma)
        grid = activation.shape[-2:]
        weights = torch.from_numpy(found.weights((grid[0], grid[1]))).to(activation)
        embedding = (weights @ activation.flatten(1).T).float().cpu().numpy()
        shares = found.shares(predicted, n_classes)
        around = np.zeros_like(shares)
        for c in gradients:
            around[:, c] = found.shares(ring(predicted == c).astype(np.int64), 2)[:, 1]
        truth = predicted if labels is None else labels
        ids = sorted(gradients)
        units = activation.shape[0]
        return {
            "embedding": embedding,
            "level": found.level,
            "number": np.arange(len(found), dtype=np.int32),
            "box": found.box,
            "area": (found.area / predicted.size).astype(np.float32),
            "share": shares.astype(np.float32),
            "ring": around.astype(np.float32),
            "truth": found.shares(truth, n_classes).astype(np.float32),
            "class": np.array(ids, dtype=np.int32),
            "inside": np.array([gradients[c][0] for c in ids], dtype=np.float32).reshape(-1, units),
            "outside": np.array([gradients[c][1] for c in ids], dtype=np.float32).reshape(
                -1, units
            ),
        }

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        from conceptseg.ace.discover import discover

        table, moments = state["segments"], state["activation"]
        assert isinstance(table, SampleTable) and isinstance(moments, Moments)
        return {
            **carry,
            **discover(self.study, context, self.study.class_ids(context), table, moments),
        }


@dataclass(frozen=True)
class _Gradient:
    """Of a batch of n images: which hold the class [n], and gradients [n, u] in and out of it."""

    present: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def on_grid(mask: Tensor, grid: tuple[int, ...] | Tensor) -> Tensor:
    """Share of each cell of a y x x grid that a mask [n, h, w] covers, float [n, 1, y, x]."""
    import torch.nn.functional as F

    return F.adaptive_avg_pool2d(mask[:, None].float(), tuple(grid))

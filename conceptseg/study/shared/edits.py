"""Edit a layer, run the rest of the network, and see what each class loses beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.network.record import Tail
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Also, Question, Test, given, judge
from conceptseg.stats.p_values import cost_p, detectable_cost
from conceptseg.study.shared.overlap import class_iou


@dataclass(frozen=True)
class Editable:
    """A batch of n images at a layer, whose activation may be edited.

    `clean` [n, h, w] is the network's own prediction. The reference of every comparison is the
    label map, or that prediction for images without one; `labelled` [n] says which.
    """

    tail: Tail
    clean: Tensor
    reference: Tensor
    labelled: Tensor
    classes: int

    @classmethod
    def of(cls, context: Context, batch: Batch) -> "Editable":
        """One pass of each image; takes no gradients, so call it where none are recorded."""
        tail = Tail.of(context.model, batch.images, context.levels)
        clean = tail.logits.argmax(1)
        labelled = torch.zeros(len(batch), dtype=torch.bool, device=clean.device)
        reference = clean
        if batch.labels is not None:
            labelled = (batch.labels >= 0).flatten(1).any(1)
            reference = torch.where(labelled[:, None, None], batch.labels, clean)
        return cls(tail, clean, reference, labelled, len(context.model.classes))

    def iou(self, activation: Tensor | None = None) -> Tensor:
        """IoU of each class in each image with the layer's activation replaced, [n, k].

        Without an activation, that of the network as it is. nan where the reference lacks a class.
        """
        here = self.clean if activation is None else self.tail.resume(activation).argmax(1)
        return class_iou(here, self.reference, self.classes)


@dataclass(frozen=True)
class Change:
    """Change of one class's IoU by an edit, `edited` [m], and by r random edits, `random` [m, r].

    `clean` [m] is the IoU before, which is what there is to lose; `sampling` says what the images
    count as. Images without the class (nan) are left out.
    """

    edited: np.ndarray
    random: np.ndarray
    clean: np.ndarray
    sampling: Sampling

    def __post_init__(self) -> None:
        known = np.isfinite(self.edited)
        for name in ("edited", "random", "clean"):
            object.__setattr__(self, name, getattr(self, name)[known].astype(np.float64))
        object.__setattr__(self, "sampling", self.sampling.at(known))

    @property
    def estimate(self) -> Estimate:
        """The mean change by the edit."""
        return lost(self.sampling, self.edited, self.clean)

    @property
    def to_lose(self) -> float:
        """The mean IoU before: no edit can cost more. nan of no image."""
        return float(self.clean.mean()) if len(self.clean) else float("nan")

    @property
    def beyond(self) -> np.ndarray:
        """The change in each image beyond the mean of the random edits, [m]; nan without any."""
        if not self.random.shape[1]:
            return np.full(len(self.edited), np.nan)
        return np.asarray(self.edited - self.random.mean(1))

    @property
    def by_chance(self) -> np.ndarray:
        """The mean change by each random edit, [r]; none of no image."""
        return self.random.mean(0) if len(self.random) else np.empty(0)


def lost(sampling: Sampling, change: np.ndarray, clean: np.ndarray) -> Estimate:
    """The mean change of IoU [m] by an edit, from `clean` [m] before it; nan is left out.

    Its interval holds for images that lose all of their IoU, or nothing, where none was seen that
    does (:func:`conceptseg.stats.intervals.bounded_interval`).
    """
    known = np.isfinite(change)
    least = -float(clean[known].mean()) if known.any() else 0.0
    return sampling.bounded(change, least, 0.0)


def beyond_random(
    changes: Sequence[Change],
    *,
    seed: int,
    also: Also = (),
    gains: bool = True,
    smallest: float = 0.0,
) -> list[Test]:
    """Is each change a loss beyond that of random edits? All are corrected together.

    Two effects must be there. Over images, the loss exceeds the mean loss by the random edits
    (signs of whole groups are flipped); over edits, it is more than one further random edit would
    cost (:func:`cost_p`); without `gains`, what gains in the mean has lost nothing, whatever random
    edits do. `also` are tests of further effects that the same claim needs. `detectable` is the
    loss that passes at the level that the correction leaves, over images and over edits; at least
    `smallest`, below which none counts.
    """
    chance = [change.by_chance for change in changes]
    means = [float(c.edited.mean()) if len(c.edited) else np.nan for c in changes]
    p = [
        cost_p(-mean, -null) if gains or mean < 0 else 1.0
        for mean, null in zip(means, chance, strict=True)
    ]
    edits = given(p, 0.0, n=max(map(len, chance), default=0), of="random edits")
    asked = [Question(c.beyond, c.sampling) for c in changes]
    tests = judge(asked, side="less", seed=seed, also=[edits, *also])
    return [
        replace(test, detectable=_detectable(test, null, smallest))
        for test, null in zip(tests, chance, strict=True)
    ]


def _detectable(test: Test, chance: np.ndarray, smallest: float) -> float:
    """nan where there is none."""
    if not len(chance):
        return float("nan")
    over_images = test.detectable - float(chance.mean())
    return float(
        np.maximum(smallest, np.maximum(over_images, detectable_cost(-chance, test.level)))
    )

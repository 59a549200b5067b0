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
from conceptseg.stats.p_values import detectable_draw, prediction_p
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
        tail = Tail.of(context.model, batch.images, context.layer)
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

    `sampling` says what the images count as. Images without the class (nan) are left out.
    """

    edited: np.ndarray
    random: np.ndarray
    sampling: Sampling

    def __post_init__(self) -> None:
        known = np.isfinite(self.edited)
        for name in ("edited", "random"):
            object.__setattr__(self, name, getattr(self, name)[known].astype(np.float64))
        object.__setattr__(self, "sampling", self.sampling.at(known))

    @property
    def estimate(self) -> Estimate:
        """The mean change by the edit."""
        return self.sampling.mean(self.edited)

    @property
    def by_chance(self) -> np.ndarray:
        """The mean change by each random edit, [r]; none of no image."""
        return self.random.mean(0) if len(self.random) else np.empty(0)


def beyond_random(changes: Sequence[Change], *, seed: int, also: Also = ()) -> list[Test]:
    """Is each change a loss beyond that of random edits? All are corrected together.

    Two effects must be there. Over images, the loss exceeds the mean loss by the random edits
    (signs of whole groups are flipped); over edits, it is more than one further random edit would
    cost. `also` are tests of further effects that the same claim needs. `detectable` is the larger
    of what the images and what the random edits allow, at the level that the correction leaves.
    """
    chance = [change.by_chance for change in changes]
    means = [float(c.edited.mean()) if len(c.edited) else np.nan for c in changes]
    p = [prediction_p(mean, null) for mean, null in zip(means, chance, strict=True)]
    edits = given(p, 0.0, n=max(map(len, chance), default=0), of="random edits")
    asked = [Question(c.edited - c.random.mean(1), c.sampling) for c in changes]
    tests = judge(asked, side="less", seed=seed, also=[edits, *also])
    return [
        replace(
            test, detectable=float(np.maximum(test.detectable, detectable_draw(null, test.level)))
        )
        for test, null in zip(tests, chance, strict=True)
    ]

"""First sweep of ACE: segments, their embeddings, and each class's gradient at the layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.ace.gradients import ClassGradients, References, class_gradients
from conceptseg.contracts import Carry, Context, Pass, State
from conceptseg.data import sample_priority
from conceptseg.embedding import Embedding
from conceptseg.record import Tail
from conceptseg.segments import ring
from conceptseg.stats.moments import Moments
from conceptseg.stats.sample_table import SampleTable

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data import Batch
    from conceptseg.study.ace import Ace


@dataclass(frozen=True)
class Survey(Pass):
    """One forward per image, and tail passes for the gradients of the classes that it holds."""

    study: Ace
    _references: dict[int, References] = field(default_factory=dict, compare=False, repr=False)

    name = "survey"
    cost = "1 forward + (1 + references) x classes tail backwards per image"
    labels = "optional"

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        study = self.study
        if id(context) not in self._references:
            self._references[id(context)] = References(context, study.references)
        tail = Tail.of(context.model, batch.images, context.layer, graph=True)
        context.model.check_finite(tail.logits, batch.ids)
        references = self._references[id(context)].of(batch.ids, tail.activation.shape[-2:])
        gradients = class_gradients(tail, study.class_ids(context), study.score, references)
        table = SampleTable.empty(study.images_per_class)
        moments = Moments.empty(tail.activation.shape[1])
        predicted = tail.logits.detach().argmax(1).cpu().numpy()
        for i, sample_id in enumerate(batch.ids):
            activation = tail.activation[i].detach()
            one = SampleTable.of(
                sample_id,
                self._tables(
                    batch.images[i].float().cpu().numpy(),
                    activation,
                    predicted[i],
                    None if batch.labels is None else batch.labels[i].cpu().numpy(),
                    gradients[i],
                    len(context.model.classes),
                ),
                priority=sample_priority(context.seed, sample_id),
                classes=gradients[i].classes,
                capacity=study.images_per_class,
            )
            table = table.merge(one)
            moments = moments.merge(Moments.of(activation.flatten(1).T.float().cpu().numpy()))
        return {"segments": table, "activation": moments}

    def _tables(
        self,
        image: np.ndarray,
        activation: Tensor,
        predicted: np.ndarray,
        labels: np.ndarray | None,
        gradients: ClassGradients,
        n_classes: int,
    ) -> dict[str, np.ndarray]:
        """The tables of one image: a row per segment, a row per class that is present."""
        found = self.study.segments(image)
        shares = found.shares(predicted, n_classes)
        around = np.zeros_like(shares)
        for c in gradients.classes:
            around[:, c] = found.shares(ring(predicted == c).astype(np.int64), 2)[:, 1]
        # Where there is no label at all the network's own prediction has to serve.
        truth = predicted if labels is None or not (labels >= 0).any() else labels
        return {
            "embedding": found.pooled(activation),
            "level": found.level,
            "number": np.arange(len(found), dtype=np.int32),
            "box": found.box,
            "area": (found.area / predicted.size).astype(np.float32),
            "share": shares.astype(np.float32),
            "ring": around.astype(np.float32),
            "truth": found.shares(truth, n_classes).astype(np.float32),
            "class": np.array(gradients.classes, dtype=np.int32),
            "local": gradients.local.cpu().numpy(),
            "path": gradients.path.cpu().numpy(),
        }

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        from conceptseg.ace.discover import discover
        from conceptseg.ace.pictures import shown_rows

        table, moments = state["segments"], state["activation"]
        assert isinstance(table, SampleTable) and isinstance(moments, Moments)
        known = discover(self.study, context, self.study.class_ids(context), table, moments)
        found = known["discovery"]
        rows = found.embedding[shown_rows(self.study, found)]
        return {**known, "embedding": Embedding(rows, context.seed)}

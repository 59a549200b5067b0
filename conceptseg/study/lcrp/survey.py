"""First sweep of L-CRP: how much of each class's relevance every channel holds, in every image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, State
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.lcrp.choose import choose, known_channels
from conceptseg.study.lcrp.engines import Sweep, regions, start_of

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.explain.lrp.engine import Run
    from conceptseg.study.lcrp.config import Lcrp


class Survey(Sweep):
    """One pass per image, and for each of its classes relevance from the logits to the layer."""

    name = "survey"
    cost = "1 forward + 1 backward of the part after the layer per class, per image"
    labels = "none"

    def forwards(self, context: Context) -> float:
        return 2.5 * len(context.manifest.samples)

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        known_channels(self.study, context)  # refused before the first image, not after the last
        return super().samples(context, carry)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        study, layer = self.study, context.layer
        engine = self._engines.of(context, batch.images)
        classes = study.class_ids(context)
        held, found, activation = [], [], []
        for i, sample_id in enumerate(batch.ids):
            # One by one: sums near zero magnify the rounding by which batches differ.
            run = engine.run(batch.images[i : i + 1], [layer])
            context.model.check_finite(run.logits, [sample_id])
            held.append(regions(run.logits.detach().argmax(1)[0], classes))
            found.append(relevances(study, run, layer, held[-1]))
            activation.append(run.activations[layer][0].flatten(1).amax(1).float().cpu().numpy())
        return self._state(context, batch, held, found, np.stack(activation))

    def _state(
        self,
        context: Context,
        batch: Batch,
        held: list[dict[int, Tensor]],
        found: list[dict[int, np.ndarray]],
        activation: np.ndarray,
    ) -> State:
        study, classes = self.study, self.study.class_ids(context)
        units = activation.shape[1]
        table = SampleTable.empty(study.images_per_class)
        state: dict[str, Any] = {}
        relevant = np.full((len(classes), units, len(batch)), np.nan, np.float32)
        for i, sample_id in enumerate(batch.ids):
            rows = {}
            for class_id, values in found[i].items():
                total = np.abs(values).sum()
                if total <= 0:
                    continue
                shares = (values / total).astype(np.float32)
                rows[class_id] = (shares, float(values.sum()), int(held[i][class_id].sum()))
                relevant[classes.index(class_id), :, i] = np.where(shares > 0, shares, np.nan)
                key = f"relevance-{class_id}"
                one = Moments.of(shares[None])
                state[key] = state[key].merge(one) if key in state else one
            one_table = {
                "class": np.array(list(rows), np.int64),
                "relevance": np.stack([r[0] for r in rows.values()])
                if rows
                else np.zeros((0, units), np.float32),
                "through": np.array([r[1] for r in rows.values()], np.float64),
                "pixels": np.array([r[2] for r in rows.values()], np.int64),
            }
            table = table.merge(
                SampleTable.of(
                    sample_id,
                    one_table,
                    priority=sample_priority(context.seed, sample_id),
                    classes=rows,
                    capacity=study.images_per_class,
                )
            )
        state["images"] = table
        flat = relevant.reshape(len(classes) * units, len(batch))
        state["relevant"] = TopSamples.of(batch.ids, flat, study.references)
        state["active"] = TopSamples.of(batch.ids, activation.T, max(1, study.exemplars))
        return state

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        return choose(self.study, context, state)


def relevances(study: Lcrp, run: Run, layer: str, held: dict[int, Tensor]) -> dict[int, np.ndarray]:
    """Of one image, each channel's relevance [u] for each class, summed over positions."""
    found = {}
    for class_id, region in held.items():
        (relevance,) = run.at_layers(start_of(study, run, region, class_id), [layer])
        found[class_id] = relevance.double().sum((0, 2, 3)).cpu().numpy()
    return found

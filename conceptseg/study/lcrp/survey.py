"""First sweep of L-CRP: how much of each class's relevance every channel holds, in every image."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.engines import ENGINES, regions, start_of

IMAGES = Key("images", SampleTable)
RELEVANT = Key("relevant images", TopSamples)
ACTIVE = Key("active images", TopSamples)


def relevance_key(class_id: int) -> Key[Moments]:
    """Each channel's share of a class's relevance, over images."""
    return Key(f"relevance-{class_id}", Moments)


@dataclass(frozen=True)
class Survey(Pass):
    """One pass per image, and for each of its classes relevance from the logits to the layer."""

    study: Lcrp

    name = "survey"
    cost = "1 forward + 1 backward of the part after the layer per class, per image"

    def forwards(self, context: Context) -> float:
        return 2.5 * len(context.manifest.samples)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, layer, classes = self.study, context.layer, self.study.class_ids(context)
        engine, state = known[ENGINES].of(), Known()
        relevant, activation = [], []
        for i, sample_id in enumerate(batch.ids):
            # One by one: sums near zero magnify the rounding by which batches differ.
            run = engine.run(batch.images[i : i + 1], [layer])
            context.model.check_finite(run.logits, [sample_id])
            where = regions(label_map(run.logits)[0], classes)
            activation.append(run.activations[layer][0].flatten(1).amax(1).float().cpu().numpy())
            shares = np.full((len(classes), len(activation[-1])), np.nan, np.float32)
            through = {}
            for class_id, region in where.items():
                (relevance,) = run.at_layers(start_of(study, run, region, class_id), [layer])
                values = relevance.double().sum((0, 2, 3)).cpu().numpy()
                if (total := np.abs(values).sum()) > 0:
                    through[class_id] = float(values.sum())
                    shares[classes.index(class_id)] = values / total
            state = state.merge(self._image(context, sample_id, where, through, shares))
            relevant.append(np.where(shares > 0, shares, np.nan).ravel())
        return (
            state
            | RELEVANT(TopSamples.of(batch.ids, np.stack(relevant, 1), study.references))
            | ACTIVE(TopSamples.of(batch.ids, np.stack(activation, 1), max(1, study.exemplars)))
        )

    def _image(
        self,
        context: Context,
        sample_id: str,
        where: dict[int, Tensor],
        through: dict[int, float],
        shares: np.ndarray,
    ) -> Known:
        """Of one image, by class the relevance `through` the layer, and its `shares` [k, u]."""
        classes = self.study.class_ids(context)
        held = shares[[classes.index(c) for c in through]]
        columns = {
            "class": np.array(list(through), np.int64),
            "relevance": held,
            "through": np.array(list(through.values()), np.float64),
            "pixels": np.array([int(where[c].sum()) for c in through], np.int64),
        }
        state = IMAGES(
            SampleTable.of(
                sample_id,
                columns,
                priority=sample_priority(context.seed, sample_id),
                classes=through,
                capacity=self.study.images_per_class,
            )
        )
        for class_id, row in zip(through, held, strict=True):
            state |= relevance_key(class_id)(Moments.of(row[None]))
        return state

"""Each atom is taken out of the layer, and random directions with the same codes are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.learn import LEARNT, Learnt
from conceptseg.study.dictionary.survey import SURVEY
from conceptseg.study.shared.atoms import changed, codes_of
from conceptseg.study.shared.edits import Editable
from conceptseg.study.shared.studied import first

ERASED = Key("erased", SampleTable)


def random_edits(
    study: Dictionary, learnt: Learnt, mean: np.ndarray, seed: int
) -> list[tuple[int, np.ndarray]]:
    """Of each random edit the atom whose codes it has, and a random direction of length 1 [u].

    Codes are those of the larger half of the atoms in turn, by their mean; directions are random
    mixtures of the layer's own deviations, so that they vary as the layer does.
    """
    rng = np.random.default_rng([seed, 72])
    large = np.argsort(-mean, kind="stable")[: max(1, -(-len(mean) // 2))]
    made = []
    for number in range(study.random_edits):
        mixed = rng.normal(size=len(learnt.spread)) @ learnt.spread
        length = np.linalg.norm(mixed)
        if length <= 0:  # a layer that is the same everywhere
            mixed, length = np.ones(len(mixed)), len(mixed) ** 0.5
        made.append((int(large[number % len(large)]), mixed / length))
    return made


@dataclass(frozen=True)
class Erase(Pass):
    """The tail of the network runs once per image for each atom and random direction."""

    study: Dictionary

    name = "erase"
    cost = "1 forward + 1 tail per atom and random direction, per image"
    labels = "optional"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, min(self.study.erase_images, self.study.images))

    def forwards(self, context: Context) -> float:
        study = self.study
        images = min(len(context.manifest.samples), study.erase_images, study.images)
        return images * (1 + 0.5 * (max(study.finder.counts) / 2 + study.random_edits))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        learnt = known[LEARNT]
        mean = known[MEAN_CODES]
        with torch.no_grad():
            layer = Editable.of(context, batch.images, batch.labels)
            activation = layer.tail.activation
            codes = codes_of(learnt.atoms, activation)
            edits = list(enumerate(learnt.atoms.atoms))
            edits += random_edits(self.study, learnt, mean, context.seed)
            rows = [layer.iou()]
            rows += [layer.iou(changed(activation, -codes[:, q], along)) for q, along in edits]
        iou = torch.stack(rows, 1).cpu().numpy()
        return ERASED(SampleTable.batch(batch.ids, {"iou": iou}))


MEAN_CODES: Key[np.ndarray] = Key("mean codes", np.ndarray)


def mean_codes(study: Dictionary, context: Context, known: Known) -> Known:
    """The mean code of each atom over all images, [q]."""
    return MEAN_CODES(known[SURVEY].column("mean").astype(np.float64).mean(0))

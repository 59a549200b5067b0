"""What each image holds of each atom, and how well its classes are met, with nothing edited."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.shared.atoms import codes_of, concept_slots, joint_counts, zoned
from conceptseg.study.shared.edits import Editable
from conceptseg.study.shared.studied import first, sampling_of

SURVEY = Key("survey", SampleTable)
TOGETHER = tuple(Key(f"together {half}", JointCounts) for half in (0, 1))
HALVES: Key[dict[str, int]] = Key("halves", dict)


def divide(study: Dictionary, context: Context, known: Known) -> Known:
    """Which half each image is in: whole groups, in turn by hash, so halves are of equal size."""
    ids = [sample.id for sample in first(context, study.images)]
    own = sampling_of(context, ids, study.unit, context.seed)
    names = sorted(set(own.groups), key=lambda one: (sample_priority(context.seed, one), one))
    turn = {name: place % 2 for place, name in enumerate(names)}
    return HALVES({name: turn[g] for name, g in zip(ids, own.groups, strict=True)})


@dataclass(frozen=True)
class Survey(Pass):
    """Codes of every image: their mean, where they lie, with which labels, and the clean IoU."""

    study: Dictionary

    name = "survey"
    cost = "1 forward per image"
    labels = "optional"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, self.study.images)

    def forwards(self, context: Context) -> float:
        return float(min(self.study.images, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        atoms, k = known[LEARNT].atoms, len(context.model.classes)
        with torch.no_grad():
            layer = Editable.of(context, batch.images, batch.labels)
            activation = layer.tail.activation
            codes = codes_of(atoms, activation).float()
            mass, area = zoned(codes, layer.clean, k)
            held = F.one_hot(layer.reference.clamp(min=0), k) * (layer.reference >= 0)[..., None]
        arrays = {
            "iou": layer.iou(),
            "labelled": layer.labelled,
            "share": held.float().mean((1, 2)),
            "mean": codes.mean((2, 3)),
            "peak": codes.flatten(2).amax(2),
            "mass": mass,
            "area": area,
        }
        table = SampleTable.batch(batch.ids, {n: one.cpu().numpy() for n, one in arrays.items()})
        states = SURVEY(table)
        slots = concept_slots(context.manifest, batch.ids, layer.reference, k)
        bar = torch.as_tensor(known[LEARNT].bars).to(codes)
        for half, key in enumerate(TOGETHER):
            rows = [i for i, name in enumerate(batch.ids) if known[HALVES][name] == half]
            if rows:
                shows = (codes[rows] > bar[:, None, None]).long()
                states |= key(joint_counts(shows, slots[:, rows], k + 2))
        return states


def together(known: Known) -> list[np.ndarray | None]:
    """The joint counts of either half, None of one without images."""
    return [known[key].counts if key in known else None for key in TOGETHER]

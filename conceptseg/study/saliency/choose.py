"""First sweep of a saliency study: which images and classes are explained."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.target import configured
from conceptseg.network.label_map import label_map
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.saliency.config import Saliency

Case = tuple[str, int]
"""A sample's id and a class."""
HELD = Key("held", SampleTable)
CASES: Key[tuple[Case, ...]] = Key("cases", tuple)


@dataclass(frozen=True)
class Choose(Pass):
    """In which images each class's region is large enough."""

    study: Saliency

    name = "choose"
    cost = "1 forward per image"
    labels = "optional"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        with torch.no_grad():
            logits = context.model(batch.images)
        least = self.study.min_region_fraction * logits.shape[2] * logits.shape[3]
        prediction, large = label_map(logits), {}
        for class_id in self.study.class_ids(context):
            target = configured(self.study.target, class_id)
            large[class_id] = (target.on(logits, batch.labels, prediction).pixels >= least).tolist()
        table = SampleTable.empty(self.study.images)
        for i, sample_id in enumerate(batch.ids):
            held = [class_id for class_id, images in large.items() if images[i]]
            one = SampleTable.of(
                sample_id,
                {"class": np.array(held, dtype=np.int64)},
                priority=sample_priority(context.seed, sample_id),
                classes=held,
                capacity=self.study.images,
            )
            table = table.merge(one)
        return HELD(table)


def draw_cases(study: Saliency, context: Context, known: Known) -> Known:
    """The images and classes that are explained; an InputError where no image holds any."""
    table = known[HELD]
    if not table.ids:
        names = ", ".join(context.model.classes[c] for c in study.class_ids(context))
        raise InputError(
            f"target.region: {study.target.region} is empty, or below "
            f"{study.min_region_fraction:.2%} of the image, for each of the classes "
            f"{names} in all {len(context.manifest.samples)} images; choose another region or "
            "other classes, or check model.preprocessing"
        )
    return CASES(cases(study, table))


def cases(study: Saliency, table: SampleTable) -> tuple[Case, ...]:
    """At most `images` images by their hash, in each the classes that had the fewest turns.

    A class that few images hold is drawn first, so that none is crowded out by a common one.
    """
    holders = Counter(int(c) for c in table.column("class"))
    left = sorted(table.ids, key=lambda sample_id: (table.priority[sample_id], sample_id))
    turns: Counter[int] = Counter()
    drawn: list[Case] = []
    images = 0
    while left and holders and images < study.images:
        wanted = min(holders, key=lambda c: (turns[c], holders[c], c))
        sample_id = next((s for s in left if wanted in table.tables[s]["class"]), None)
        if sample_id is None:
            del holders[wanted]
            continue
        left.remove(sample_id)
        images += 1
        held = table.tables[sample_id]["class"].tolist()
        others = sorted((c for c in held if c != wanted), key=lambda c: (turns[c], c))
        for class_id in [wanted, *others][: study.classes_per_image]:
            turns[class_id] += 1
            drawn.append((sample_id, int(class_id)))
    return tuple(drawn)

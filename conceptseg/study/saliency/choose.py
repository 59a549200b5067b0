"""First sweep of a saliency study: which images and classes are explained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.errors import InputError
from conceptseg.explain.target import configured
from conceptseg.stats.mergeable.sample_table import SampleTable

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.study.saliency.config import Saliency

Case = tuple[str, int]
"""A sample's id and a class."""


@dataclass(frozen=True)
class Choose(Pass):
    """In which images each class's region is large enough, and which of them are drawn."""

    study: Saliency

    name = "choose"
    cost = "1 forward per image"
    labels = "optional"

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        with torch.no_grad():
            logits = context.model(batch.images)
        context.model.check_finite(logits, batch.ids)
        least = self.study.min_region_fraction * logits.shape[2] * logits.shape[3]
        large = {}
        for class_id in class_ids(self.study, context):
            target = configured(self.study.target, class_id)
            large[class_id] = (target.on(logits, batch.labels).pixels >= least).tolist()
        table = SampleTable.empty(self.study.images)
        for i, sample_id in enumerate(batch.ids):
            held = [class_id for class_id, found in large.items() if found[i]]
            one = SampleTable.of(
                sample_id,
                {"class": np.array(held, dtype=np.int64)},
                priority=sample_priority(context.seed, sample_id),
                classes=held,
                capacity=self.study.images,
            )
            table = table.merge(one)
        return {"held": table}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state["held"]
        assert isinstance(table, SampleTable)
        if not table.ids:
            names = ", ".join(context.model.classes[c] for c in class_ids(self.study, context))
            raise InputError(
                f"target.region: {self.study.target.region} is empty, or below "
                f"{self.study.min_region_fraction:.2%} of the image, for each of the classes "
                f"{names} in all {len(context.manifest.samples)} images; choose another region or "
                "other classes, or check model.preprocessing"
            )
        return {"cases": cases(self.study, table)}


def class_ids(study: Saliency, context: Context) -> tuple[int, ...]:
    """The classes to explain: those asked for, or all but the background."""
    names = study.data.classes or tuple(
        name for name in context.model.classes if name != context.manifest.background
    )
    return tuple(context.model.class_id(name) for name in names)


def cases(study: Saliency, table: SampleTable) -> list[Case]:
    """At most `images` images by their hash, in each the classes that had the fewest turns.

    A class that few images hold is drawn first, so that none is crowded out by a common one.
    """
    holders = Counter(int(c) for c in table.column("class"))
    rank = sorted(table.ids, key=lambda sample_id: (table.priority[sample_id], sample_id))
    turns: Counter[int] = Counter()
    chosen: list[Case] = []
    left = list(rank)
    while left and len({sample_id for sample_id, _ in chosen}) < study.images:
        wanted = min(holders, key=lambda c: (turns[c], holders[c], c))
        having = [s for s in left if wanted in table.tables[s]["class"]]
        if not having:
            del holders[wanted]
            if not holders:
                break
            continue
        sample_id = having[0]
        left.remove(sample_id)
        held = table.tables[sample_id]["class"].tolist()
        others = sorted((c for c in held if c != wanted), key=lambda c: (turns[c], c))
        for class_id in [wanted, *others][: study.classes_per_image]:
            turns[class_id] += 1
            chosen.append((sample_id, int(class_id)))
    return chosen

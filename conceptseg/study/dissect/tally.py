"""The one sweep: joint counts of every unit's values with every concept, and what else is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.dissect.bins import Counter
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.pilot import PLAN, Plan, check_kept, observe
from conceptseg.study.dissect.published import levels

MIN_CLASS_SHARE = 0.0005
COUNTER = Key("counter", Counter)
COUNTS = (Key("choose", JointCounts), Key("score", JointCounts))
"""Of the half of the images that chooses each unit's concept, and of that which scores it."""
SEEN, KEPT = Key("seen", SampleTable), Key("kept", SampleTable)
HELD, TOP = Key("held", SampleTable), Key("top", TopSamples)


@dataclass(frozen=True)
class Tally(Pass):
    """One pass per image: through the whole network where concepts need its prediction."""

    study: Dissect

    name = "tally"
    cost = "1 forward per image (1 encoder pass without labels' errors) and its counts"
    labels = "optional"

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield COUNTER(Counter(known[PLAN].bins, context.run.device))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        plan = known[PLAN]
        maps, slots = observe(context, batch, known, self.study.label_px)
        check_kept(self.study, maps, self.study.kept_images, "lower kept_images")
        state = self.counted(batch, known, maps, slots)
        state |= self.kept(context, batch, plan, maps, slots)
        return state | levels(self.study, context, plan, batch.ids, maps, slots)

    def counted(self, batch: Batch, known: Known, maps: Tensor, slots: Tensor) -> Known:
        plan, grid = known[PLAN], (int(slots.shape[-2]), int(slots.shape[-1]))
        sizes = [category.slots for category in plan.vocabulary.categories]
        state = Known()
        for half, key in enumerate(COUNTS):
            chosen = [i for i, sample_id in enumerate(batch.ids) if plan.half[sample_id] == half]
            if chosen:
                rows = torch.tensor(chosen, device=maps.device)
                counts = known[COUNTER].counts(maps[rows], grid, slots[:, rows], sizes)
                state |= key(JointCounts(counts.cpu().numpy()))
        return state

    def kept(
        self, context: Context, batch: Batch, plan: Plan, maps: Tensor, slots: Tensor
    ) -> Known:
        study, classes = self.study, len(context.model.classes)
        own = slots.transpose(0, 1).cpu().numpy().astype(np.int16)
        shows = np.stack([plan.vocabulary.one_hot(one).any((1, 2)) for one in own])
        priority = [sample_priority(context.seed, sample_id) for sample_id in batch.ids]
        kept = SampleTable.batch(
            batch.ids,
            {"maps": maps.float().cpu().numpy(), "slots": own},
            priority=priority,
            classes=[(plan.half[sample_id],) for sample_id in batch.ids],
            capacity=(study.kept_images + 1) // 2,
        )
        held = SampleTable.batch(
            batch.ids,
            {},
            priority=priority,
            classes=[_classes(plan, one, classes) for one in own],
            capacity=study.ablate_images,
        )
        ends = torch.cat([maps.amax((2, 3)), -maps.amin((2, 3))], 1).float().cpu().numpy()
        top = TopSamples.of(batch.ids, ends.T, study.exemplars)
        seen = SampleTable.batch(batch.ids, {"shows": shows})
        return SEEN(seen) | KEPT(kept) | HELD(held) | TOP(top)


def _classes(plan: Plan, slots: np.ndarray, count: int) -> list[int]:
    """Classes that cover enough of an image, by labels or else predictions; [0] without either."""
    for g, category in enumerate(plan.vocabulary.categories):
        if category.name in ("class", "predicted"):
            share = np.bincount(slots[g].ravel(), minlength=count)[:count] / slots[g].size
            return np.flatnonzero(share >= MIN_CLASS_SHARE).tolist()
    return [0]

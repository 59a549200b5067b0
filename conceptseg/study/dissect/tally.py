"""The one sweep: joint counts of every unit's values with every concept, and what else is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.dissect.bins import Counter
from conceptseg.study.dissect.observed import observe
from conceptseg.study.dissect.pilot import Plan, check_kept, count_grid
from conceptseg.study.dissect.published import found_levels, levels
from conceptseg.study.dissect.sources import View, slot_maps

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.study.dissect.config import Dissect

MIN_CLASS_SHARE = 0.0005
HALVES = ("choose", "score")


@dataclass(frozen=True)
class Tally(Pass):
    """One pass per image: through the whole network where concepts need its prediction."""

    study: Dissect
    _counters: dict[int, Counter] = field(default_factory=dict, compare=False, repr=False)

    name = "tally"
    cost = "1 forward per image (1 encoder pass without labels' errors) and its counts"
    labels = "optional"

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        plan: Plan = carry["plan"]
        with torch.no_grad():
            activation, prediction = observe(context, batch, plan.predicts)
            grid = count_grid(activation, batch.images, self.study.label_px)
            slots = slot_maps(plan.sources, View.of(batch, prediction), grid)
            maps = activation[:, torch.from_numpy(plan.live).to(activation.device)]
            check_kept(self.study, maps, self.study.kept_images, "lower kept_images")
            state = self._counted(context, batch, plan, maps, grid, slots)
            state |= self._kept(context, batch, plan, maps, slots)
            state |= levels(self.study, context, plan, batch, maps)
        return state

    def _counted(
        self,
        context: Context,
        batch: Batch,
        plan: Plan,
        maps: Tensor,
        grid: tuple[int, int],
        slots: Tensor,
    ) -> State:
        import torch

        if id(plan) not in self._counters:
            self._counters[id(plan)] = Counter(plan.bins, str(maps.device))
        counter = self._counters[id(plan)]
        sizes = [category.slots for category in plan.vocabulary.categories]
        state: State = {}
        for half, name in enumerate(HALVES):
            chosen = [i for i, sample_id in enumerate(batch.ids) if plan.half[sample_id] == half]
            if chosen:
                rows = torch.tensor(chosen, device=maps.device)
                counts = counter.counts(maps[rows], grid, slots[:, rows], sizes)
                state[name] = JointCounts(counts.cpu().numpy())
        return state

    def _kept(
        self, context: Context, batch: Batch, plan: Plan, maps: Tensor, slots: Tensor
    ) -> State:
        import torch

        study, vocabulary = self.study, plan.vocabulary
        seen, kept = SampleTable.empty(), SampleTable.empty((study.kept_images + 1) // 2)
        held = SampleTable.empty(study.ablate_images)
        ends = torch.cat([maps.amax((2, 3)), -maps.amin((2, 3))], 1).float().cpu().numpy()
        classes = len(context.model.classes)
        for i, sample_id in enumerate(batch.ids):
            own = slots[:, i].cpu().numpy().astype(np.int16)
            shows = np.asarray(vocabulary.one_hot(own).any((1, 2)))
            seen = seen.merge(SampleTable.of(sample_id, {"shows": shows[None]}))
            priority = sample_priority(context.seed, sample_id)
            tables = {"maps": maps[i].float().cpu().numpy()[None], "slots": own[None]}
            kept = kept.merge(
                SampleTable.of(
                    sample_id,
                    tables,
                    priority=priority,
                    classes=(plan.half[sample_id],),
                    capacity=kept.capacity,
                )
            )
            held = held.merge(
                SampleTable.of(
                    sample_id,
                    {"class": np.zeros(1, np.int8)},
                    priority=priority,
                    classes=_classes(plan, own, classes),
                    capacity=held.capacity,
                )
            )
        top = TopSamples.of(batch.ids, ends.T, study.exemplars)
        return {"seen": seen, "kept": kept, "held": held, "top": top}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        from conceptseg.study.dissect.detect import detect

        plan: Plan = carry["plan"]
        return {
            "detection": detect(self.study, context, plan, state),
            "levels": found_levels(self.study, plan, state),
        }


def _classes(plan: Plan, slots: np.ndarray, count: int) -> list[int]:
    """Classes that cover enough of an image, as labels or predictions say; [0] if neither does."""
    for g, category in enumerate(plan.vocabulary.categories):
        if category.name in ("class", "predicted"):
            share = np.bincount(slots[g].ravel(), minlength=count)[:count] / slots[g].size
            return np.flatnonzero(share >= MIN_CLASS_SHARE).tolist()
    return [0]

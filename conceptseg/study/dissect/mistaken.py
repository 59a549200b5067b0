"""The concepts that mistakes may lie on: those told without labels, and the units showing them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.study.dissect.ablate import ablated, concept_units, replacement
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION
from conceptseg.study.dissect.pilot import PLAN, SOURCES, Plan
from conceptseg.study.dissect.sources import View, on_centres
from conceptseg.study.shared.mistaken import Concepts, Edit


@dataclass(frozen=True)
class SeenConcepts(Concepts):
    """Concepts of a dissection's vocabulary, without those of labels, predictions and errors."""

    study: Dissect

    @classmethod
    def of(cls, study: Dissect) -> "SeenConcepts":
        return cls(
            study.min_images,
            study.smallest_effect,
            study.random_sets,
            study.unit,
            study.picture_px,
            study,
        )

    def names(self, known: Known) -> tuple[str, ...]:
        plan = known[PLAN]
        return tuple(plan.vocabulary.names[concept] for concept in asked(plan))

    def where(
        self, context: Context, ids: Sequence[str], images: Tensor, known: Known
    ) -> tuple[Tensor, Tensor]:
        view = View(tuple(ids), images, None, None)
        grid = (int(images.shape[-2]), int(images.shape[-1]))
        own = [one for one in known[SOURCES] if one.seen_alone]
        slots = [(one, on_centres(one.map(view), grid)) for one in own]
        shows = [maps == slot for one, maps in slots for slot in range(len(one.category.concepts))]
        told = [maps != one.category.unknown for one, maps in slots for _ in one.category.concepts]
        if not slots:
            nowhere = torch.zeros((len(ids), 0, *grid), dtype=torch.bool, device=images.device)
            return nowhere, nowhere
        return torch.stack(shows, 1), torch.stack(told, 1)

    def edits(self, context: Context, concept: int, known: Known) -> dict[Hashable, Edit] | None:
        """The units that overlap it most are ablated, and random sets of as many others."""
        detection = known[DETECTION]
        plan, number = detection.plan, asked(detection.plan)[concept]
        if number not in detection.allowed:
            return None
        units = concept_units(self.study, detection, number)
        values = replacement(self.study, plan)
        others = np.setdiff1d(np.arange(len(plan.live)), units)
        if len(others) < len(units):
            return None
        rng = np.random.default_rng([context.seed, 15, number])
        sets = [
            rng.choice(others, len(units), replace=False) for _ in range(self.study.random_sets)
        ]

        live = [plan.live[list(chosen)] for chosen in (units, *sets)]
        edits = [partial(ablated, units=each, values=values) for each in live]
        return {(number, n): edit for n, edit in enumerate(edits)}


def asked(plan: Plan) -> list[int]:
    """The numbers of these concepts in the vocabulary."""
    return np.flatnonzero(plan.seen_alone[plan.vocabulary.category]).tolist()

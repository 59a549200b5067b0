"""Examples: what an exchange makes of an image, and of its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Carry, Context, State
from conceptseg.report.panels import Palette, panels
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.permute import Exchange
from conceptseg.study.permutation.survey import Plan, drawn

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample


@dataclass(frozen=True)
class Pictures(Exchange):
    """A few images under every variant but those of units, each with its prediction."""

    name = "pictures"
    cost = "variants forwards, on a few images"

    def forwards(self, context: Context) -> float:
        return 12.0 * self.study.gallery

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        wanted = shown(carry, self.study.gallery)
        return [sample for sample in drawn(self.study, context) if sample.id in wanted]

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        plan: Plan = carry["plan"]
        pool = drawn(self.study, context)
        palette = Palette.of(context.manifest, context.model.classes)
        assert batch.labels is not None
        donors = self.library(context).images(pool, batch.ids, 0, batch.images)
        changed = {"clean": batch.images, "donor": donors}
        for place, variant in enumerate(plan.variants):
            if variant.feature.kind != "units":
                made = self.changed(context, batch, variant, donors, plan.channels, 0)
                changed[str(place)] = made
        parts: dict[str, list[bytes]] = {}
        for name, images in changed.items():
            with torch.no_grad():
                logits = context.model(images)
            for i in range(len(batch)):
                truth = batch.labels[i].cpu().numpy() if name == "clean" else None
                image = images[i].float().cpu().numpy()
                prediction = logits[i].argmax(0).cpu().numpy()
                data = panels(image, truth, prediction, palette, self.study.picture_px)
                parts.setdefault(name, []).append(data)
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {name: np.frombuffer(each[i], dtype=np.uint8) for name, each in parts.items()}
            table = table.merge(SampleTable.of(sample_id, one))
        return {self.name: table}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get(self.name, SampleTable.empty())
        assert isinstance(table, SampleTable)
        return {
            "drawn": {
                sample_id: {name: part.tobytes() for name, part in table.tables[sample_id].items()}
                for sample_id in table.ids
            }
        }


def shown(carry: Carry, count: int) -> list[str]:
    """The images whose overlap exchanges change most, on average."""
    deltas: Deltas = carry["deltas"]
    change = np.nan_to_num(np.abs(deltas.overlap)).mean((1, 2, 3))
    order = np.lexsort((np.array(deltas.ids), -change))
    return [deltas.ids[row] for row in order[:count]]

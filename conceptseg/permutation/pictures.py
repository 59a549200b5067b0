"""Examples: what an exchange makes of an image, and of its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.contracts import Carry, Context, State
from conceptseg.panels import Palette, panels
from conceptseg.permutation.permute import Deltas, Exchange
from conceptseg.permutation.survey import Plan, drawn
from conceptseg.stats.sample_table import SampleTable

if TYPE_CHECKING:
    from conceptseg.data import Batch, Sample

COMPARED = 4


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


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of each class, that which exchanges change most."""
    deltas: Deltas = carry["deltas"]
    change = np.nan_to_num(np.abs(deltas.overlap)).mean((1, 2))
    found = []
    ground = context.manifest.background
    for class_id, name in enumerate(context.model.classes):
        held = np.isfinite(deltas.clean[:, class_id])
        # Saliency is taken of the predicted region, so the class has to be found at all.
        held &= np.nan_to_num(deltas.clean[:, class_id], nan=1.0) < 0.9
        if name != ground and held.any():
            row = int(np.argmax(np.where(held, change[:, class_id], -1.0)))
            found.append((float(change[row, class_id]), deltas.ids[row], class_id))
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [(sample_id, class_id) for _, sample_id, class_id in found[:COMPARED]]

"""Fourth sweep: the images on which the shown units are highest, and where they are active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.network.record import encode
from conceptseg.report.thumbnails import outline, photo
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.ablate import shown_units
from conceptseg.study.dissect.bins import resized
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.dissect.kept import active
from conceptseg.study.dissect.pilot import count_grid

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.dissect.config import Dissect


@dataclass(frozen=True)
class Shown:
    """`photos` by sample id; `outlines` (SVG paths) by unit (place in live) and sample id."""

    photos: Mapping[str, bytes]
    outlines: Mapping[tuple[int, str], str]


@dataclass(frozen=True)
class Pictures(Pass):
    """One encoder pass for each image on a card."""

    study: Dissect

    name = "pictures"
    cost = "1 encoder pass per image on a card"
    labels = "none"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        wanted = {sample_id for _, sample_id in on_cards(self.study, carry["detection"])}
        return [sample for sample in context.manifest.samples if sample.id in wanted]

    def forwards(self, context: Context) -> float:
        pictures = self.study.cards * self.study.exemplars
        return float(min(pictures, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        found: Detection = carry["detection"]
        pairs = on_cards(self.study, found)
        activation = encode(context.model, batch.images, context.layer)
        grid = count_grid(activation, batch.images, self.study.label_px)
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            units = np.array([unit for unit, name in pairs if name == sample_id], dtype=np.int64)
            own = activation[i : i + 1, found.plan.live[units].tolist()]
            fields = resized(own, grid)[0].flatten(1).cpu().numpy()
            chosen = found.chosen
            on = active(fields, chosen.threshold[units], chosen.low[units])
            paths = [outline(row.reshape(grid)).encode() for row in on]
            image = batch.images[i].float().cpu().numpy()
            one: dict[str, np.ndarray] = {
                "photo": np.frombuffer(photo(image, self.study.picture_px), dtype=np.uint8),
                "unit": units,
                "outline": np.frombuffer(b"".join(paths), dtype=np.uint8),
                "outline_size": np.array([len(path) for path in paths], dtype=np.int64),
            }
            table = table.merge(SampleTable.of(sample_id, one))
        return {"pictures": table}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("pictures", SampleTable.empty())
        assert isinstance(table, SampleTable)
        outlines: dict[tuple[int, str], str] = {}
        for sample_id in table.ids:
            one = table.tables[sample_id]
            parts = np.split(one["outline"], np.cumsum(one["outline_size"])[:-1])
            for unit, part in zip(one["unit"].tolist(), parts, strict=True):
                outlines[unit, sample_id] = part.tobytes().decode()
        photos = {sample_id: table.tables[sample_id]["photo"].tobytes() for sample_id in table.ids}
        return {"pictures": Shown(photos, outlines)}


def on_cards(study: Dissect, found: Detection) -> list[tuple[int, str]]:
    """The units that are shown, places in live, each with the images on its card."""
    return [
        (unit, sample_id)
        for unit in shown_units(study, found)
        for sample_id, _ in found.exemplars(unit)
    ]

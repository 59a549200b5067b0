"""Fourth sweep: the images on which the shown units are highest, and where they are active."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.record import encode
from conceptseg.report.thumbnails import outline, photo
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.ablate import shown_units
from conceptseg.study.dissect.bins import resized
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION, Detection
from conceptseg.study.dissect.kept import active
from conceptseg.study.dissect.pilot import count_grid

PICTURES = Key("pictures", SampleTable)
PHOTOS: Key[dict[str, bytes]] = Key("photos", dict)
"""Photos by sample id."""
OUTLINES: Key[dict[tuple[int, str], str]] = Key("outlines", dict)
"""SVG paths by unit (place in live) and sample id."""


@dataclass(frozen=True)
class Pictures(Pass):
    """One encoder pass for each image on a card."""

    study: Dissect

    name = "pictures"
    cost = "1 encoder pass per image on a card"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        wanted = {sample_id for _, sample_id in on_cards(self.study, known[DETECTION])}
        return context.manifest.named(wanted)

    def forwards(self, context: Context) -> float:
        pictures = self.study.cards * self.study.exemplars
        return float(min(pictures, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        detection = known[DETECTION]
        pairs, chosen = on_cards(self.study, detection), detection.chosen
        activation = encode(context.model, batch.images, context.levels)
        grid = count_grid(activation, batch.images, self.study.label_px)
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            units = np.array([unit for unit, name in pairs if name == sample_id], dtype=np.int64)
            own = activation[i : i + 1, detection.plan.live[units].tolist()]
            fields = resized(own, grid)[0].flatten(1).cpu().numpy()
            on = active(fields, chosen.threshold[units], chosen.low[units])
            image = batch.images[i].float().cpu().numpy()
            arrays: dict[str, np.ndarray] = {
                "photo": np.frombuffer(photo(image, self.study.picture_px), dtype=np.uint8),
                "unit": units,
                "outline": np.array([outline(row.reshape(grid)) for row in on], dtype=np.str_),
            }
            table = table.merge(SampleTable.of(sample_id, arrays))
        return PICTURES(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state.get(PICTURES, SampleTable.empty())
        outlines = {
            (unit, sample_id): path
            for sample_id, one in table.tables.items()
            for unit, path in zip(one["unit"].tolist(), one["outline"].tolist(), strict=True)
        }
        photos = {sample_id: one["photo"].tobytes() for sample_id, one in table.tables.items()}
        return PHOTOS(photos) | OUTLINES(outlines)


def on_cards(study: Dissect, detection: Detection) -> list[tuple[int, str]]:
    """The units that are shown, places in live, each with the images on its card."""
    return [
        (unit, sample_id)
        for unit in shown_units(study, detection)
        for sample_id, _ in detection.exemplars(unit)
    ]

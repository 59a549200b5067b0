"""Examples: what an exchange makes of an image, and of its prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.panels import Palette, panels
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.permutation.assess import IMPORTANCES, OVERALL
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.donors import LIBRARY
from conceptseg.study.permutation.findings import claims
from conceptseg.study.permutation.permute import Exchange
from conceptseg.study.permutation.survey import PLAN

MOST_CLASSES = 8
"""Classes of which an image is pictured because something is claimed of them."""
PICTURED = Key("pictured", SampleTable)
DRAWN: Key[dict[str, dict[str, bytes]]] = Key("drawn", dict)
"""Pictures by image and by what was exchanged: "clean", "donor", or a variant's place."""


@dataclass(frozen=True)
class Pictures(Exchange):
    """A few images under every variant but those of units, each with its prediction."""

    name = "pictures"
    cost = "variants forwards, on a few images"

    def forwards(self, context: Context) -> float:
        classes = min(MOST_CLASSES, len(self.study.class_ids(context)))
        return 12.0 * (self.study.gallery + classes)

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        wanted = pictured(known, self.study.gallery, context.model.classes)
        return [sample for sample in super().samples(context, known) if sample.id in wanted]

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        palette = Palette.of(context.manifest, context.model.classes)
        assert batch.labels is not None
        donors = known[LIBRARY].images(batch.ids, 0, batch.images)
        changed = {"clean": batch.images, "donor": donors}
        for place, variant in enumerate(known[PLAN].variants):
            if variant.feature.kind != "units":
                changed[str(place)] = self.changed(context, batch, known, variant, donors, 0)
        parts: dict[str, list[bytes]] = {}
        for name, images in changed.items():
            with torch.no_grad():
                logits = context.model(images)
            for i in range(len(batch)):
                truth = batch.labels[i].cpu().numpy() if name == "clean" else None
                image = images[i].float().cpu().numpy()
                prediction = label_map(logits[i]).cpu().numpy()
                data = panels(image, truth, prediction, palette, self.study.picture_px)
                parts.setdefault(name, []).append(data)
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            own = {name: np.frombuffer(each[i], dtype=np.uint8) for name, each in parts.items()}
            table = table.merge(SampleTable.of(sample_id, own))
        return PICTURED(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        tables = state.get(PICTURED, SampleTable.empty()).tables
        return DRAWN(
            {
                sample_id: {name: part.tobytes() for name, part in tables[sample_id].items()}
                for sample_id in sorted(tables)
            }
        )


def pictured(known: Known, count: int, classes: Sequence[str]) -> list[str]:
    """The images that are :func:`shown`, and of each class of which something is claimed, if none
    of these holds it, the one that exchanges change most in it; the largest claims first."""
    deltas, claimed = known[DELTAS], dict[str, float]()
    for one in claims(known[IMPORTANCES]):
        if one.class_name != OVERALL:
            claimed[one.class_name] = max(one.loss.value, claimed.get(one.class_name, 0.0))
    chosen = shown(deltas, count)
    for name in sorted(claimed, key=lambda name: -claimed[name])[:MOST_CLASSES]:
        own = classes.index(name)
        if not any(name in held(deltas, row, classes) for row in map(deltas.ids.index, chosen)):
            change = np.nan_to_num(np.abs(deltas.overlap[..., own])).mean((1, 2))
            there = np.isfinite(deltas.clean[:, own])
            chosen.append(deltas.ids[int(np.argmax(np.where(there, change, -1.0)))])
    return chosen


def held(deltas: Deltas, row: int, classes: Sequence[str]) -> list[str]:
    """The classes that an image holds."""
    return [classes[c] for c in np.flatnonzero(np.isfinite(deltas.clean[row])).tolist()]


def shown(deltas: Deltas, count: int) -> list[str]:
    """The images whose overlap exchanges change most, on average."""
    change = np.nan_to_num(np.abs(deltas.overlap)).mean((1, 2, 3))
    order = np.lexsort((np.array(deltas.ids), -change))
    return [deltas.ids[row] for row in order[:count]]

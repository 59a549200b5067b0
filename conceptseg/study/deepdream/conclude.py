"""The result of a deepdream study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Carry, Context
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.deepdream.assess import (
    cues,
    outside,
    spread_of,
)
from conceptseg.study.deepdream.findings import context_findings, findings
from conceptseg.study.deepdream.survey import Found
from conceptseg.study.deepdream.tables import (
    cue_table,
    curve_table,
    outside_table,
    path_table,
    start_table,
)
from conceptseg.study.deepdream.travel import WALKS, Travelled
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import Comparison

if TYPE_CHECKING:
    from conceptseg.study.deepdream.config import DeepDream


def conclude(study: DeepDream, context: Context, carry: Carry) -> Result:
    found: Found = carry["found"]
    travelled: Travelled = carry["travelled"]
    comparison: Comparison = carry["comparison"]
    classes = context.model.classes
    told = cues(study, found, travelled, context.seed)
    elsewhere = outside(found, travelled, context.seed)
    images, strips = _strips(found, travelled, classes)
    images |= local_maps.pictures(comparison)
    tables = {
        "paths": path_table(found, travelled, classes, context.seed),
        "cues": cue_table(told, classes),
        "outside": outside_table(elsewhere, classes),
        "curves": curve_table(found, travelled, classes),
        "starts": start_table(found, travelled, classes),
        "strips": Table(strips, caption="Pictures along some paths"),
        "saliency": local_maps.table(comparison, classes),
    }
    return Result(
        study="deepdream",
        findings=ranked([*findings(told, classes), *context_findings(elsewhere, classes)]),
        tables=tables,
        arrays={
            "described": travelled.described.astype(np.float32),
            "score": travelled.score.astype(np.float32),
            "flipped": travelled.flipped.astype(np.float32),
            "length": travelled.length.astype(np.float32),
            "spread": spread_of(found, travelled).astype(np.float32),
        },
        images=images,
        skipped=[{"kind": "path", **one} for one in found.skipped],
        notes={
            "model": context.model.name,
            "origin": context.model.origin,
            "manifest": context.manifest.name,
            "images": len(context.manifest.samples),
            "starts": len(travelled.sample),
            "routes": [route.name(classes) for route in found.routes],
            "steps": study.steps,
            "step": study.step,
            "flip": study.flip,
            "points": study.points,
            "smallest": study.smallest,
            "unit": found.unit,
            "methods": list(comparison.methods),
            "borrowed": int(travelled.borrowed.sum()),
            "flip_pixel": int((travelled.flipped[:, 0, -1] >= study.flip - 1e-9).sum()),
            "flip_phase": int((travelled.flipped[:, 1, -1] >= study.flip - 1e-9).sum()),
        },
    )


def _strips(
    found: Found, travelled: Travelled, classes: tuple[str, ...]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    images: dict[str, bytes] = {}
    rows = []
    for (start, walk), parts in sorted(travelled.strips.items()):
        keys = []
        for point, data in enumerate(parts):
            keys.append(safe_key(f"start-{start}-{walk}-{point}"))
            images[keys[-1]] = data
        rows.append(
            {
                "path": found.routes[int(travelled.route[start])].name(classes),
                "sample": travelled.sample[start],
                "walk": walk,
                "pictures": keys,
                "outline": travelled.outlines[start],
                "flipped": travelled.flipped[start, WALKS.index(walk), -1],
                "borrowed": bool(travelled.borrowed[start]),
            }
        )
    return images, rows

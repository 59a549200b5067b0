"""The result of a deepdream study: findings in words, tables, arrays and pictures."""

from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.deepdream import tables
from conceptseg.study.deepdream.assess import ASSESSED
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.findings import findings
from conceptseg.study.deepdream.survey import SURVEY, Survey
from conceptseg.study.deepdream.travel import COLUMNS, TRAVELLED, WALKS, Travelled
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON


def conclude(study: DeepDream, context: Context, known: Known) -> Result:
    survey, travelled = known[SURVEY], known[TRAVELLED]
    assessed, comparison = known[ASSESSED], known[COMPARISON]
    classes = context.model.classes
    images, strips = _strips(survey, travelled)
    flipped = (travelled.flipped[:, :2, -1] >= study.flip - 1e-9).sum(0).tolist()
    arrays = {name: getattr(travelled, name) for name in COLUMNS[:4]} | {"spread": assessed.spread}
    counted = survey.sampling.named(travelled.sample)
    return Result(
        study="deepdream",
        findings=ranked(findings(assessed, classes)),
        tables={
            "paths": tables.paths(survey, travelled),
            "cues": Table.of(assessed.cues, tables.CUES, "Every descriptor on every kind of path"),
            "outside": Table.of(
                assessed.outside,
                tables.OUTSIDE,
                "How much of the pixel paths' change lies outside the region and its ring",
            ),
            "curves": tables.curves(survey, travelled, assessed.spread),
            "starts": tables.starts(survey, travelled),
            "strips": Table(strips, caption="Pictures along some paths"),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={name: array.astype(np.float32) for name, array in arrays.items()},
        images=images | local_maps.pictures(comparison),
        skipped=[{"kind": "path", **one} for one in survey.skipped],
        notes=studied.notes(
            context,
            survey.sampling.ids,
            counted.groups,
            counted.of.removesuffix("s"),
            comparison,
            starts=len(travelled.sample),
            routes=[route.name for route in survey.routes],
            **study.model_dump(include={"steps", "step", "flip", "points", "smallest"}),
            correction=next((cue.test.by for cue in assessed.cues if cue.test), None),
            borrowed=int(travelled.borrowed.sum()),
            flip_pixel=flipped[0],
            flip_phase=flipped[1],
        ),
    )


def _strips(survey: Survey, travelled: Travelled) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    images: dict[str, bytes] = {}
    rows = []
    for strip in sorted(travelled.strips, key=lambda strip: (strip.start, strip.walk)):
        name = f"start-{strip.start}-{strip.walk}"
        drawn = {safe_key(f"{name}-{k}"): data for k, data in enumerate(strip.pictures)}
        images |= drawn
        rows.append(
            {
                "path": survey.routes[int(travelled.route[strip.start])].name,
                "sample": travelled.sample[strip.start],
                "walk": strip.walk,
                "pictures": list(drawn),
                "outline": strip.outline,
                "flipped": travelled.flipped[strip.start, list(WALKS).index(strip.walk), -1],
                "borrowed": bool(travelled.borrowed[strip.start]),
            }
        )
    return images, rows

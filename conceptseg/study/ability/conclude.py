"""The result of an ability study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.ability.assess import ASSESSED, Assessed
from conceptseg.study.ability.findings import findings
from conceptseg.study.ability.gather import PREPARED
from conceptseg.study.ability.pictures import DRAWN
from conceptseg.study.ability.read import ABILITIES, VARIANTS, Abilities
from conceptseg.study.ability.tables import (
    Row,
    class_table,
    estimate_table,
    forgotten_table,
    image_table,
    level_table,
    unit_table,
)
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import COMPARISON

if TYPE_CHECKING:
    from conceptseg.study.ability.config import Ability


def conclude(study: Ability, context: Context, known: Known) -> Result:
    found, told = known[ABILITIES], known[ASSESSED]
    ready, comparison = known[PREPARED], known[COMPARISON]
    classes = context.model.classes
    tables = {
        "levels": level_table(told.levels, classes),
        "classes": class_table(told, classes),
        "units": unit_table(study, context, known, classes),
        "forgotten": forgotten_table(study, known, classes),
        "estimates": estimate_table(told),
        "images": image_table(found, told, classes),
        "saliency": local_maps.table(comparison, classes),
    }
    images = {safe_key(f"drawn-{name}"): data for name, data in known[DRAWN].items()}
    images |= local_maps.pictures(comparison)
    return Result(
        study="ability",
        findings=ranked(findings(study, told, classes)),
        tables=tables,
        arrays={
            "dice": found.dice.astype(np.float32),
            "output": found.output.astype(np.float32),
            **{
                safe_key(f"units-{place}"): found.units[layer]
                for place, layer in enumerate(ready.layers)
            },
        },
        images=images,
        skipped=skipped(study, context, found, told),
        notes={
            "model": study.model.name,
            "origin": context.model.origin,
            "manifest": context.manifest.name,
            "layers": list(ready.layers),
            "classes": [classes[c] for c in told.class_ids],
            "all_classes": list(classes),
            "images": len(found.ids),
            "images_given": len(context.manifest.samples),
            "unit": told.unit,
            "groups": len(set(told.groups)),
            "manifest_groups": len({context.manifest.sample(i).group for i in found.ids}),
            "halves_by_group": ready.by_group,
            "control_images": len(ready.control),
            "unit_images": len(found.unit_rows),
            "variants": list(VARIANTS),
            "enough": study.enough,
            "forgotten_margin": study.forgotten,
            "forgotten": len(told.forgotten),
            "chance": list(told.forgotten_by_chance),
            "seen_in_vain": told.seen_in_vain,
            "smallest_effect": study.smallest_effect,
            "methods": list(comparison.methods),
        },
    )


def skipped(study: Ability, context: Context, found: Abilities, told: Assessed) -> list[Row]:
    kept = set(found.ids)
    result: list[Row] = [
        {"kind": "sample", "sample": sample.id, "reason": "no mask"}
        for sample in context.manifest.samples
        if sample.id not in kept
    ]
    for class_id in study.class_ids(context):
        if class_id not in told.class_ids:
            count = int(np.isfinite(found.output[:, class_id]).sum())
            reason = f"in {count} images, fewer than {study.min_images}"
            name = context.model.classes[class_id]
            result.append({"kind": "class", "class": name, "reason": reason})
    return result

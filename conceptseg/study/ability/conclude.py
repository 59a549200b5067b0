"""The result of an ability study: findings in words, tables, arrays and pictures."""

from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.ability import tables
from conceptseg.study.ability.assess import ASSESSED, Assessed
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.findings import findings
from conceptseg.study.ability.gather import PREPARED
from conceptseg.study.ability.pictures import DRAWN
from conceptseg.study.ability.read import ABILITIES, VARIANTS, Abilities
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON


def conclude(study: Ability, context: Context, known: Known) -> Result:
    abilities, assessed = known[ABILITIES], known[ASSESSED]
    prepared, comparison = known[PREPARED], known[COMPARISON]
    classes = context.model.classes
    images = {safe_key(f"drawn-{name}"): data for name, data in known[DRAWN].items()}
    units = {
        safe_key(f"units-{place}"): abilities.units[layer]
        for place, layer in enumerate(prepared.layers)
    }
    return Result(
        study="ability",
        findings=ranked(findings(assessed, classes)),
        tables={
            "levels": tables.levels(assessed, classes),
            "classes": tables.emergence(assessed, classes),
            "units": tables.units(study, context, known),
            "forgotten": tables.forgotten(study, known, classes),
            "estimates": tables.estimates(assessed),
            "images": tables.images(abilities, assessed, classes),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "dice": abilities.dice.astype(np.float32),
            "output": abilities.output.astype(np.float32),
            **units,
        },
        images=images | local_maps.pictures(comparison),
        skipped=_skipped(study, context, abilities, assessed),
        notes=studied.notes(
            context,
            abilities.ids,
            assessed.sampling.groups,
            assessed.sampling.of.removesuffix("s"),
            comparison,
            layers=list(prepared.layers),
            classes=[classes[c] for c in assessed.class_ids],
            all_classes=list(classes),
            halves_by_group=prepared.by_group,
            control_images=len(prepared.control),
            unit_images=len(abilities.unit_rows),
            variants=list(VARIANTS),
            enough=study.enough,
            forgotten_margin=study.forgotten,
            forgotten=len(assessed.forgotten),
            chance=list(assessed.forgotten_by_chance),
            seen_in_vain=assessed.seen_in_vain,
            smallest_effect=study.smallest_effect,
        ),
    )


def _skipped(
    study: Ability, context: Context, abilities: Abilities, assessed: Assessed
) -> list[dict[str, Any]]:
    result = studied.left_out(context, abilities.ids, "no mask")
    for class_id in study.class_ids(context):
        if class_id not in assessed.class_ids:
            count = int(np.isfinite(abilities.output[:, class_id]).sum())
            reason = f"in {count} images, fewer than {study.min_images}"
            name = context.model.classes[class_id]
            result.append({"kind": "class", "class": name, "reason": reason})
    return result

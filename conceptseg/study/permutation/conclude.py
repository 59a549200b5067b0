"""The result of a permutation study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Carry, Context
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.permutation.assess import (
    counted,
    tested,
    usable,
)
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.donors import derangement
from conceptseg.study.permutation.findings import findings
from conceptseg.study.permutation.survey import Plan, drawn
from conceptseg.study.permutation.tables import (
    clean_table,
    example_table,
    importance_table,
    pair_table,
    tree_table,
)
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import Comparison

if TYPE_CHECKING:
    from conceptseg.study.permutation.config import Permutation


def conclude(study: Permutation, context: Context, carry: Carry) -> Result:
    deltas: Deltas = carry["deltas"]
    plan: Plan = carry["plan"]
    comparison: Comparison = carry["comparison"]
    classes = context.model.classes
    class_ids = usable(study, context, deltas)
    found = tested(study, context, deltas, class_ids)
    groups, unit = counted(study, context, deltas)
    pool = drawn(study, context)
    tables = {
        "importance": importance_table(deltas, found, classes),
        "pairs": pair_table(study, context, carry, class_ids, groups),
        "tree": tree_table(plan, found, deltas),
        "examples": example_table(carry, plan),
        "clean": clean_table(deltas, class_ids, classes),
        "saliency": local_maps.table(comparison, classes),
    }
    images = {
        safe_key(f"example-{n}-{name}"): data
        for n, sample_id in enumerate(carry["drawn"])
        for name, data in carry["drawn"][sample_id].items()
    }
    images |= local_maps.pictures(comparison)
    return Result(
        study="permutation",
        findings=ranked(findings(deltas, found, classes)),
        tables=tables,
        arrays={
            "clean": deltas.clean.astype(np.float32),
            "overlap": deltas.overlap.astype(np.float32),
            "correlation": plan.channels.correlation().astype(np.float32),
        },
        images=images,
        skipped=[
            {
                "kind": "sample",
                "sample": sample.id,
                "reason": "not drawn (images)" if context.manifest.labelled(sample) else "no mask",
            }
            for sample in context.manifest.samples
            if sample.id not in set(deltas.ids)
        ],
        notes={
            "model": study.model.name,
            "origin": context.model.origin,
            "manifest": context.manifest.name,
            "layer": context.layer,
            "classes": [classes[c] for c in class_ids],
            "images": len(deltas.ids),
            "images_given": len(context.manifest.samples),
            "unit": unit,
            "groups": len(set(groups.tolist())),
            "manifest_groups": len({sample.group for sample in pool}),
            "donors_of_other_groups": derangement(pool, context.seed, 0)[1],
            "repeats": study.repeats,
            "most_repeats": study.most_repeats,
            "raced": len(carry["undecided"]),
            "variants": len(plan.variants),
            "schemes": sorted({variant.scheme for variant in plan.variants}),
            "smallest_effect": study.smallest_effect,
            "block_px": study.block_px,
            "methods": list(comparison.methods),
        },
    )

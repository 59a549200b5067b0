"""The result of an ACE study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.ace.assess import PAIRS, describe, enrichment
from conceptseg.study.ace.control import COUNTS
from conceptseg.study.ace.discover import GROUPS, UNIT
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import ERASURES
from conceptseg.study.ace.findings import findings
from conceptseg.study.ace.gradients import needs_labels
from conceptseg.study.ace.pictures import MAP, SHOWN, Shown, shown_rows
from conceptseg.study.ace.scored import SEEN, scored_on
from conceptseg.study.ace.tables import (
    calibration_table,
    class_table,
    concept_table,
    exemplar_table,
    map_table,
    pair_table,
    picture_key,
)
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import COMPARISON, Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conceptseg.study.ace.config import Ace


def conclude(study: Ace, context: Context, known: Known) -> Result:
    found, pairs, erasures = known[DISCOVERY], known[PAIRS], known[ERASURES]
    shown, comparison = known[SHOWN], known[COMPARISON]
    classes = context.model.classes
    names = [describe(found, concept, classes) for concept in found.concepts]
    metadata = _metadata(context, found)
    rows = shown_rows(study, found)
    tables = {
        "pairs": pair_table(pairs, classes),
        "concepts": concept_table(study, found, names, shown),
        "exemplars": exemplar_table(study, found, shown),
        "classes": class_table(study, found, erasures, pairs, classes),
        "calibration": calibration_table(study, found, classes),
        "choices": Table([dict(choice) for choice in found.choices]),
        "enrichment": Table(
            enrichment(found, metadata), caption="Metadata values frequent among a concept's images"
        ),
        "segments": map_table(found, rows, shown),
        "saliency": local_maps.table(comparison, classes),
    }
    return Result(
        study="ace",
        findings=ranked(findings(study, found, pairs, classes, names)),
        tables=tables,
        arrays=_arrays(found, known[MAP].result()["points"], comparison),
        images=_images(shown, comparison),
        skipped=_skipped(study, context, found, classes),
        notes={
            "control": known[COUNTS],
            "layer": context.layer,
            "embedding": study.embedding,
            "target": study.target.model_dump(mode="json"),
            "scored_on": scored_on(study.target),
            "classes": list(classes),
            "images": len(found.ids),
            "unit": known[UNIT],
            "groups": known[GROUPS],
            "origin": context.model.origin,
            "images_given": len(context.manifest.samples),
            "segments": len(found.image),
            "grid_units": int(found.embedding.shape[1]),
            "labelled_images": int(erasures.labelled.sum()),
            "erased_images": len(erasures.ids),
            "smallest_effect": study.smallest_effect,
            "methods": list(comparison.methods),
            "limits": {method: comparison.limits[method] for method in comparison.methods},
            "model": study.model.name,
            "manifest": context.manifest.name,
        },
    )


def _images(shown: Shown, comparison: Comparison) -> dict[str, bytes]:
    photos = {picture_key(sample_id): data for sample_id, data in shown.photos.items()}
    return photos | local_maps.pictures(comparison)


def _arrays(found: Discovery, points: np.ndarray, comparison: Comparison) -> dict[str, np.ndarray]:
    """Directions, nulls and the map of segments; `null_*` by class, concept and draw."""
    classes = sorted({class_id for class_id, _ in found.influence})
    q = len(found.concepts)
    units = found.embedding.shape[1]
    arrays = {
        "cav": np.array([c.direction.vector for c in found.concepts], np.float32).reshape(q, units),
        "absent": np.array([c.direction.absent for c in found.concepts], np.float32),
        "layer_mean": np.asarray(found.mean, dtype=np.float32),
        "map": points,
        "null_class": np.array(classes, dtype=np.int32),
    }
    if found.influence:
        arrays["null_moves"] = np.array(
            [[found.influence[c, k].null_effect for k in range(q)] for c in classes], np.float32
        )
    return arrays | local_maps.arrays(comparison)


def _metadata(context: Context, found: Discovery) -> dict[str, list[str]]:
    by_id = {sample.id: sample for sample in context.manifest.samples}
    columns = sorted({name for i in found.ids for name in by_id[i].metadata})
    return {name: [str(by_id[i].metadata.get(name, "")) for i in found.ids] for name in columns}


def _skipped(
    study: Ace, context: Context, found: Discovery, classes: Sequence[str]
) -> list[dict[str, Any]]:
    result = [{"kind": "cluster", **dropped} for dropped in found.dropped]
    seen = SEEN[study.target.region]
    for class_id, images in sorted(found.class_images.items()):
        if len(images) < study.min_images:
            reason = f"{seen} in {len(images)} images, fewer than {study.min_images}"
            result.append({"kind": "class", "class": classes[class_id], "reason": reason})
    kept = set(found.ids)
    for sample in context.manifest.samples:
        if sample.id not in kept:
            reason = "no class to explain, or not drawn (images_per_class)"
            if needs_labels(study.target) and not context.manifest.labelled(sample):
                reason = f"no mask, from which target.region {study.target.region!r} is told"
            result.append({"kind": "sample", "sample": sample.id, "reason": reason})
    return result

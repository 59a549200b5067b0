"""The result of a dissection: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Carry, Context
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.dissect import tables
from conceptseg.study.dissect.ablate import Ablations
from conceptseg.study.dissect.detect import Detection, published_detector
from conceptseg.study.dissect.findings import findings
from conceptseg.study.dissect.pictures import Shown
from conceptseg.study.dissect.user_masks import UserMasks
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import Comparison

if TYPE_CHECKING:
    from conceptseg.study.dissect.config import Dissect


def conclude(study: Dissect, context: Context, carry: Carry) -> Result:
    found: Detection = carry["detection"]
    ablations: Ablations = carry["ablations"]
    shown: Shown = carry["pictures"]
    comparison: Comparison = carry["comparison"]
    classes, names = context.model.classes, found.plan.vocabulary.names
    together = [
        {"concept": names[concept], "units": len(ablations.sets[edit])}
        for edit, concept in enumerate(ablations.concepts)
    ]
    alone = [
        {"unit": int(found.plan.live[i]), "label": names[int(found.chosen.concept[i])]}
        for i in ablations.cards
    ]
    made = {
        "units": tables.units(found, ablations, classes),
        "concepts": tables.concepts(found, ablations, classes),
        "categories": tables.categories(found),
        "losses": tables.losses(ablations.concept_losses, together, classes),
        "unit_losses": tables.losses(ablations.unit_losses, alone, classes),
        "curves": tables.curves(found, ablations),
        "exemplars": tables.exemplars(found, ablations, shown),
        "rotation": tables.rotation(found),
        "saliency": local_maps.table(comparison, classes),
        "published": Table(carry.get("published", [])),
    }
    return Result(
        study="dissect",
        findings=ranked(findings(found, ablations, classes)),
        tables=made,
        arrays=_arrays(found, comparison),
        images=_images(shown, comparison),
        skipped=_skipped(study, found),
        notes=_notes(study, context, found, ablations, comparison),
    )


def _arrays(found: Detection, comparison: Comparison) -> dict[str, np.ndarray]:
    """Overlaps of live units with all concepts (named in the table `concepts`), and the null."""
    arrays = {
        "live": found.plan.live.astype(np.int32),
        "overlap": found.grid.astype(np.float32),
        "normalised_iou": found.grid_normalised.astype(np.float32),
        "auroc": found.auroc.astype(np.float32),
        "average_precision": found.precision.astype(np.float32),
        "null": found.permuted.null_best.astype(np.float32),
        "observed": found.permuted.observed.astype(np.float32),
        "thresholds": found.chosen.threshold.astype(np.float32),
        "mean": found.plan.mean.astype(np.float32),
    }
    return arrays | local_maps.arrays(comparison)


def _images(shown: Shown, comparison: Comparison) -> dict[str, bytes]:
    images = {tables.picture_key(sample_id): data for sample_id, data in shown.photos.items()}
    return images | local_maps.pictures(comparison)


def _skipped(study: Dissect, found: Detection) -> list[dict[str, Any]]:
    plan = found.plan
    result: list[dict[str, Any]] = [
        {"kind": "unit", "unit": unit, "reason": "constant on the pilot's images"}
        for unit in plan.dead
    ]
    for concept, name in enumerate(plan.vocabulary.names):
        if concept not in found.allowed:
            reason = f"seen in fewer than {study.min_images} images of a half"
            result.append({"kind": "concept", "concept": name, "reason": reason})
    for source in plan.sources:
        if isinstance(source, UserMasks):
            reason = f"no file for the mask {source.category.concepts[0]!r}; not annotated"
            result += [
                {"kind": "mask", "sample": name, "reason": reason} for name in source.missing
            ]
    return result


def _notes(
    study: Dissect,
    context: Context,
    found: Detection,
    ablations: Ablations,
    comparison: Comparison,
) -> dict[str, Any]:
    member = found.plan.member
    return {
        "layer": context.layer,
        "classes": list(context.model.classes),
        "model": study.model.name,
        "origin": context.model.origin,
        "manifest": context.manifest.name,
        "images": found.samples,
        "unit": found.plan.unit,
        "members": len(set(member.values())),
        "groups": len({sample.group for sample in context.manifest.samples}),
        "units": found.plan.units,
        "live": len(found.plan.live),
        "two_sided": int(found.plan.two_sided.sum()),
        "detectors": int(found.detector.sum()),
        "unique": len(ablations.concepts),
        "published_detectors": int(published_detector(found).sum()),
        "null": tables.null_curve(study, found),
        "quantiles": list(found.quantiles),
        "min_overlap": study.min_overlap,
        "smallest_effect": study.smallest_effect,
        "ablated_images": ablations.images,
        "ablated_to": ablations.value,
        "random_sets": study.random_sets,
        "labelled_images": ablations.labelled,
        "untested": _untested(ablations, context.model.classes),
        "methods": list(comparison.methods),
        "limits": {method: comparison.limits[method] for method in comparison.methods},
    }


def _untested(ablations: Ablations, classes: Sequence[str]) -> list[str]:
    """Classes in too few images for any loss of theirs to pass the correction."""
    tested = {loss.class_id for loss in ablations.concept_losses if np.isfinite(loss.p_holm)}
    seen = {loss.class_id for loss in ablations.concept_losses}
    return [classes[class_id] for class_id in sorted(seen - tested)]

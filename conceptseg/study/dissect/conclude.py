"""The result of a dissection: findings in words, tables, arrays and pictures."""

from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.dissect import tables
from conceptseg.study.dissect.ablate import ABLATIONS, Ablations
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION, Detection
from conceptseg.study.dissect.findings import findings
from conceptseg.study.dissect.pictures import OUTLINES, PHOTOS
from conceptseg.study.dissect.published import PUBLISHED
from conceptseg.study.dissect.remaining import REMAINING
from conceptseg.study.shared import local_maps, mistaken_report, studied
from conceptseg.study.shared.compare import COMPARISON
from conceptseg.study.shared.mistaken import MISTAKES
from conceptseg.study.shared.user_masks import user_masks


def conclude(study: Dissect, context: Context, known: Known) -> Result:
    detection, ablations = known[DETECTION], known[ABLATIONS]
    mistakes, remaining = known[MISTAKES], known[REMAINING]
    comparison, classes = known[COMPARISON], context.model.classes
    photos = {tables.picture_key(name): data for name, data in known[PHOTOS].items()}
    sampling, published = detection.plan.sampling, known.get(PUBLISHED, [])
    return Result(
        study="dissect",
        findings=ranked(
            mistaken_report.findings(mistakes, classes)
            + findings(detection, ablations, remaining, classes)
        ),
        tables={
            "units": tables.units(detection, ablations, classes),
            "concepts": tables.concepts(detection, ablations, remaining, classes),
            "categories": tables.categories(detection),
            "losses": tables.losses(detection, ablations, classes),
            "unit_losses": tables.unit_losses(detection, ablations, classes),
            "curves": tables.curves(detection, ablations),
            "exemplars": tables.exemplars(detection, ablations, known[OUTLINES]),
            "rotation": tables.rotation(detection),
            "saliency": local_maps.table(comparison, classes),
            "published": Table(published),
            **mistaken_report.tables(mistakes, classes),
        },
        arrays=_arrays(detection) | local_maps.arrays(comparison),
        images=photos | local_maps.pictures(comparison) | mistaken_report.pictures(mistakes),
        skipped=_skipped(study, context, detection),
        notes=studied.notes(
            context,
            sampling.ids,
            sampling.groups,
            sampling.of.removesuffix("s"),
            comparison,
            **_notes(study, context, detection, ablations),
            mistaken_images=mistakes.images,
            limits={method: comparison.limits[method] for method in comparison.methods},
        ),
    )


def _arrays(detection: Detection) -> dict[str, np.ndarray]:
    """Overlaps of live units with all concepts (named in the table `concepts`), and the null."""
    arrays = {
        "overlap": detection.grid,
        "normalised_iou": detection.grid_normalised,
        "auroc": detection.auroc,
        "average_precision": detection.precision,
        "null": detection.permuted.null_best,
        "observed": detection.permuted.observed,
        "thresholds": detection.chosen.threshold,
        "mean": detection.plan.mean,
    }
    singles = {name: values.astype(np.float32) for name, values in arrays.items()}
    return {"live": detection.plan.live.astype(np.int32), **singles}


def _skipped(study: Dissect, context: Context, detection: Detection) -> list[dict[str, Any]]:
    plan = detection.plan
    result: list[dict[str, Any]] = [
        {"kind": "unit", "unit": unit, "reason": "constant on the pilot's images"}
        for unit in plan.dead
    ]
    for concept, name in enumerate(plan.vocabulary.names):
        if concept not in detection.allowed:
            reason = f"seen in fewer than {study.min_images} images of a half"
            result.append({"kind": "concept", "concept": name, "reason": reason})
    for mask in user_masks(study.masks, context.manifest):
        reason = f"no file for the mask {mask.name!r}; not annotated"
        result += [{"kind": "mask", "sample": name, "reason": reason} for name in mask.missing]
    return result


def _notes(
    study: Dissect, context: Context, detection: Detection, ablations: Ablations
) -> dict[str, Any]:
    plan, chance, losses = detection.plan, detection.permuted, ablations.concept_losses
    classes = context.model.classes
    tested = {loss.class_id for loss in losses if loss.test.testable}
    return {
        "layer": context.layer,
        "classes": list(classes),
        "units": plan.units,
        "live": len(plan.live),
        "two_sided": int(plan.two_sided.sum()),
        "detectors": int(detection.detector.sum()),
        "unique": sum(map(len, ablations.concepts)),
        "published_detectors": int(detection.published_detector.sum()),
        "null": {
            "permutations": chance.draws,
            "shifted": int(chance.shifted.sum()),
            "images": chance.images,
            "blocks": chance.blocks,
            "grouped": chance.grouped,
            "rate": chance.rate,
            "detectors": chance.detectors,
            "published": chance.published,
        },
        "quantiles": list(detection.quantiles),
        "min_overlap": study.min_overlap,
        "smallest_effect": study.smallest_effect,
        "ablated_images": ablations.images,
        "ablated_to": ablations.replaced_by,
        "random_sets": study.random_sets,
        "labelled_images": ablations.labelled,
        "correction": losses[0].test.by if losses else None,
        "untested": [classes[c] for c in sorted({loss.class_id for loss in losses} - tested)],
    }

"""The result of a dissection: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import local_maps
from conceptseg.compare import Comparison
from conceptseg.contracts import Carry, Context
from conceptseg.dissect import tables
from conceptseg.dissect.ablate import Ablations, Loss
from conceptseg.dissect.detect import Detection, published_detector
from conceptseg.dissect.pictures import Shown
from conceptseg.dissect.user_masks import UserMasks
from conceptseg.result import Finding, Result, Table, ranked

if TYPE_CHECKING:
    from conceptseg.study.dissect import Dissect

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps, one for each class that uses some concept's units most.

    Of the images that hold the class, one on which that concept's best unit is highest, if there
    is one; classes that use nothing follow.
    """
    found: Detection = carry["detection"]
    ablations: Ablations = carry["ablations"]
    held = found.held.classes
    background = context.manifest.background
    chosen: dict[int, str] = {}
    for loss in sorted(ablations.concept_losses, key=lambda one: (one.change, one.class_id)):
        if loss.used and loss.class_id not in chosen:
            best = int(found.best_units(ablations.concepts[loss.edit], 1)[0])
            own = [name for name, classes in held.items() if loss.class_id in classes]
            high = [name for name, _ in found.exemplars(best) if name in own]
            if own:
                chosen[loss.class_id] = (high or sorted(own))[0]
    for name in sorted(held):
        for class_id in sorted(held[name]):
            if context.model.classes[class_id] != background:
                chosen.setdefault(class_id, name)
    return [(sample_id, class_id) for class_id, sample_id in chosen.items()][:COMPARED]


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
        findings=ranked(_findings(found, ablations, classes)),
        tables=made,
        arrays=_arrays(found, comparison),
        images=_images(shown, comparison),
        skipped=_skipped(study, found),
        notes=_notes(study, context, found, ablations, comparison),
    )


def _findings(found: Detection, ablations: Ablations, classes: Sequence[str]) -> list[Finding]:
    names = found.plan.vocabulary.names
    result = []
    for edit, concept in enumerate(ablations.concepts):
        own = [loss for loss in ablations.concept_losses if loss.edit == edit]
        used = [loss for loss in own if loss.used]
        units, size = len(found.detectors(concept)), len(ablations.sets[edit])
        for loss in used:
            claim = (
                f"{classes[loss.class_id]} uses the units that detect {names[concept]}: without "
                f"the {_count(size)} that overlap it most it loses {_cost(loss.change)} IoU; "
                f"random sets of as many cost {_cost(loss.random)}."
            )
            result.append(_finding(loss, claim, classes, names[concept], units, size))
        if own and not used:
            worst = min(own, key=lambda loss: (loss.change, loss.class_id))
            claim = (
                f"{_count(units, capital=True)} {'detects' if units == 1 else 'detect'} "
                f"{names[concept]}, but no class was shown to use that: without the {_count(size)} "
                f"that overlap it most, {classes[worst.class_id]} loses most, "
                f"{_cost(worst.change)} IoU."
            )
            result.append(_finding(worst, claim, classes, names[concept], units, size))
    return result


def _finding(
    loss: Loss, claim: str, classes: Sequence[str], concept: str, units: int, size: int
) -> Finding:
    return Finding(
        claim=claim,
        class_=classes[loss.class_id],
        effect=loss.change,
        ci=loss.interval,
        p=loss.p,
        p_adjusted=loss.p_holm,
        n=loss.images,
        evidence="causal",
        details={
            "effect_name": "change of IoU when the units are ablated",
            "concept": concept,
            "detectors": units,
            "ablated": size,
            "random": loss.random,
            "used": loss.used,
        },
    )


def _count(units: int, capital: bool = False) -> str:
    one = "One unit" if capital else "one unit"
    return one if units == 1 else f"{units} units"


def _cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"


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

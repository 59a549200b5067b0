"""The result of an ACE study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import local_maps
from conceptseg.ace.assess import Pair, describe, enrichment
from conceptseg.ace.discovery import Discovery
from conceptseg.ace.erase import Erasures
from conceptseg.ace.gradients import needs_labels
from conceptseg.ace.pictures import Shown, shown_rows
from conceptseg.ace.pool import TAGS
from conceptseg.ace.scored import SEEN, scored_on
from conceptseg.ace.tables import (
    calibration_table,
    class_table,
    concept_table,
    exemplar_table,
    map_table,
    pair_table,
    picture_key,
)
from conceptseg.compare import Comparison
from conceptseg.contracts import Carry, Context
from conceptseg.result import Finding, Result, Table, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conceptseg.study.ace import Ace

COMPARED_CLASSES = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of the classes with the strongest findings, one each.

    The image is the one among the concept's exemplars in which the class covers most; classes
    without a finding follow, each with the image in which it covers most.
    """
    found: Discovery = carry["discovery"]
    pairs: Sequence[Pair] = carry["pairs"]
    chosen: dict[int, str] = {}
    for pair in sorted((p for p in pairs if p.used), key=lambda p: (p.loss, p.class_id)):
        core = found.concepts[pair.concept].core
        candidates = np.intersect1d(found.image[core], found.class_images[pair.class_id])
        if pair.class_id not in chosen and len(candidates):
            chosen[pair.class_id] = _fullest(found, pair.class_id, candidates)
    for class_id in sorted(found.class_images, key=lambda c: -len(found.class_images[c])):
        if class_id not in chosen and len(found.class_images[class_id]):
            chosen[class_id] = _fullest(found, class_id, found.class_images[class_id])
    return [(sample_id, class_id) for class_id, sample_id in chosen.items()][:COMPARED_CLASSES]


def _fullest(found: Discovery, class_id: int, images: np.ndarray) -> str:
    """Of the images, the id of the one in which the class covers the largest area."""
    covered = found.share[:, class_id] * found.area * (found.level == 0)
    area = np.bincount(found.image, weights=covered, minlength=len(found.ids))
    return found.ids[int(images[np.argmax(area[images])])]


def conclude(study: Ace, context: Context, carry: Carry) -> Result:
    found: Discovery = carry["discovery"]
    pairs: Sequence[Pair] = carry["pairs"]
    erasures: Erasures = carry["erasures"]
    shown: Shown = carry["pictures"]
    comparison: Comparison = carry["comparison"]
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
        findings=ranked(_findings(study, found, pairs, classes, names)),
        tables=tables,
        arrays=_arrays(found, carry["embedding"].result()["points"], comparison),
        images=_images(shown, comparison),
        skipped=_skipped(study, context, found, classes),
        notes={
            "control": carry["control"],
            "layer": context.layer,
            "embedding": study.embedding,
            "target": study.target.model_dump(mode="json"),
            "scored_on": scored_on(study.target),
            "classes": list(classes),
            "images": len(found.ids),
            "unit": carry["unit"],
            "groups": carry["groups"],
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


def _findings(
    study: Ace,
    found: Discovery,
    pairs: Sequence[Pair],
    classes: Sequence[str],
    names: Sequence[str],
) -> list[Finding]:
    result = []
    for pair in pairs:
        if not pair.used:
            continue
        concept = found.concepts[pair.concept]
        result.append(
            Finding(
                claim=_claim(pair, concept.name, classes[pair.class_id], names[pair.concept]),
                class_=classes[pair.class_id],
                effect=pair.loss,
                ci=pair.loss_ci,
                p=pair.p,
                p_adjusted=pair.p_holm,
                n=pair.erased_images,
                evidence=concept.id,
                details={
                    "effect_name": "change of IoU when the concept is erased",
                    "concept": concept.number,
                    "from_context": pair.from_context,
                    "outside_loss": pair.outside_loss,
                    "tcav": pair.tcav,
                    "score_change": pair.moves,
                },
            )
        )
    return result


def _claim(pair: Pair, concept: str, class_name: str, seen_on: str) -> str:
    place = max(TAGS, key=lambda tag: np.nan_to_num(getattr(pair, tag)))
    where = {
        "inside": "inside the class's own region",
        "ring": "right around the class's own region",
        "elsewhere": "away from the class's own region",
    }[place]
    share = getattr(pair, place)
    lies = "in images without the class" if np.isnan(share) else f"{share:.0%} of it {where}"
    claim = (
        f"{class_name} uses {concept}, which lies on {seen_on}, {lies}. Erasing it costs the class "
        f"{_cost(pair.loss)} IoU; erasing random directions costs {_cost(pair.null_loss)}."
    )
    if pair.from_context:
        claim += (
            " It acts from context: erased outside the class's own region alone, it still costs "
            f"{_cost(pair.outside_loss)}."
        )
    return claim


def _cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"


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

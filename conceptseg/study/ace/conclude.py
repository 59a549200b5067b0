"""The result of an ACE study: findings in words, tables, arrays and pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.enrichment import Enriched
from conceptseg.study.ace import tables
from conceptseg.study.ace.assess import PAIRS, describe, enrichment
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.control import COUNTS
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import ERASURES
from conceptseg.study.ace.findings import findings
from conceptseg.study.ace.gradients import needs_labels
from conceptseg.study.ace.naming import by_metadata
from conceptseg.study.ace.pictures import MAP, SHOWN, shown_rows
from conceptseg.study.ace.reaching import outside_layer
from conceptseg.study.ace.scored import REGIONS, scored_on
from conceptseg.study.ace.survey import SCALES
from conceptseg.study.shared import local_maps, mistaken_report, studied
from conceptseg.study.shared.compare import COMPARISON, Comparison
from conceptseg.study.shared.mistaken import MISTAKES


def conclude(study: Ace, context: Context, known: Known) -> Result:
    scales = known[SCALES]
    discovery, pairs, erasures = known[DISCOVERY], known[PAIRS], known[ERASURES]
    shown, comparison, mistakes = known[SHOWN], known[COMPARISON], known[MISTAKES]
    classes = context.model.classes
    names = [describe(discovery, concept, classes) for concept in discovery.concepts]
    frequent = enrichment(discovery, _metadata(context, discovery))
    words = words_of(study, context, discovery, frequent, names)
    caption = "Metadata values frequent among a concept's images"
    photos = {tables.picture_key(name): data for name, data in shown.photos.items()}
    sampling = discovery.sampling
    return Result(
        study="ace",
        findings=ranked(
            mistaken_report.findings(mistakes, classes)
            + findings(discovery, pairs, classes, names, words)
        ),
        tables={
            "pairs": tables.pair_table(pairs, classes),
            "concepts": tables.concept_table(study, known, names, words),
            "exemplars": tables.exemplar_table(study, discovery, shown),
            "classes": tables.class_table(known, classes),
            "calibration": tables.calibration_table(discovery, classes),
            "choices": Table([dict(choice) for choice in discovery.choices]),
            "enrichment": Table.of(frequent, tables.FREQUENT, caption),
            "segments": tables.map_table(discovery, shown_rows(study, discovery), shown),
            "images": Table.of_columns({"sample": discovery.ids}, "Images that were studied"),
            "saliency": local_maps.table(comparison, classes),
            **mistaken_report.tables(mistakes, classes),
        },
        arrays=_arrays(discovery, known[MAP].result()["points"], comparison),
        images=photos | local_maps.pictures(comparison) | mistaken_report.pictures(mistakes),
        skipped=_skipped(study, context, discovery, classes),
        notes=studied.notes(
            context,
            discovery.ids,
            sampling.groups,
            sampling.of.removesuffix("s"),
            comparison,
            control=known[COUNTS],
            layer=context.layer,
            embedding=study.embedding,
            target=study.target.model_dump(mode="json"),
            scored_on=scored_on(study.target),
            classes=list(classes),
            segments=len(discovery.image),
            scales=list(scales),
            grid_units=int(discovery.embedding.shape[1]),
            labelled_images=int(erasures.labelled.sum()),
            erased_images=len(erasures.ids),
            reach_px=erasures.reach if np.isfinite(erasures.reach) else None,
            spared_px=erasures.spared,
            outside_layer=outside_layer(context, erasures.spared),
            smallest_effect=study.smallest_effect,
            mistaken_images=mistakes.images,
            limits={method: comparison.limits[method] for method in comparison.methods},
        ),
    )


def _arrays(
    discovery: Discovery, points: np.ndarray, comparison: Comparison
) -> dict[str, np.ndarray]:
    """Directions, nulls and the map of segments; `null_*` by class, concept and draw."""
    classes = sorted({class_id for class_id, _ in discovery.influence})
    q, directions = len(discovery.concepts), [c.direction for c in discovery.concepts]
    cav = np.array([direction.vector for direction in directions], np.float32)
    arrays = {
        "cav": cav.reshape(q, discovery.embedding.shape[1]),
        "absent": np.array([direction.absent for direction in directions], np.float32),
        "present": np.array([discovery.present(c) for c in discovery.concepts], np.float32),
        "layer_mean": np.asarray(discovery.mean, dtype=np.float32),
        "map": points,
        "null_class": np.array(classes, dtype=np.int32),
    }
    if discovery.influence:
        arrays["null_moves"] = np.array(
            [[discovery.influence[c, k].null_effect for k in range(q)] for c in classes], np.float32
        )
    return arrays | local_maps.arrays(comparison)


def words_of(
    study: Ace,
    context: Context,
    discovery: Discovery,
    frequent: Sequence[Enriched],
    names: Sequence[str],
) -> dict[int, str]:
    """A word for each concept that has one: the user's, or that of its images' metadata."""
    seen = {concept.number: names[concept.number - 1] for concept in discovery.concepts}
    rows = Table.of(frequent, tables.FREQUENT).rows
    return by_metadata(rows, seen, context.manifest.background) | study.names


def _metadata(context: Context, discovery: Discovery) -> dict[str, list[str]]:
    metadata = [context.manifest.sample(name).metadata for name in discovery.ids]
    columns = sorted({column for own in metadata for column in own})
    return {column: [str(own.get(column, "")) for own in metadata] for column in columns}


def _skipped(
    study: Ace, context: Context, discovery: Discovery, classes: Sequence[str]
) -> list[dict[str, Any]]:
    result = [{"kind": "cluster", **dropped} for dropped in discovery.dropped]
    seen = REGIONS[study.target.region][0]
    for class_id, images in sorted(discovery.class_images.items()):
        if len(images) < study.min_images:
            few = f"{seen} in {len(images)} images, fewer than {study.min_images}"
            result.append({"kind": "class", "class": classes[class_id], "reason": few})

    reason = "no class to explain, or not drawn (images_per_class)"
    needed = f"no mask, which target.region {study.target.region!r} needs"
    no_labels = needed if needs_labels(study.target) else None
    return result + studied.left_out(context, discovery.ids, reason, no_labels)

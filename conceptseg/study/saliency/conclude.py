"""The result of a saliency study: tables, findings in words, arrays and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import catalogue
from conceptseg.catalogue import Choice, choice_labels, choice_versions
from conceptseg.engine.contract import Carry, Context
from conceptseg.report.thumbnails import outlined, overlay, shared_limit
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import units
from conceptseg.study.saliency import findings
from conceptseg.study.saliency.judge import Judged
from conceptseg.study.saliency.standing import (
    CHANCE,
    KNOWN,
    MASK_COPY,
    differences,
)
from conceptseg.study.saliency.tables import (
    against_table,
    case_table,
    mean_table,
    method_table,
    metric_table,
    value_table,
)

if TYPE_CHECKING:
    from conceptseg.study.saliency.config import Saliency


def conclude(study: Saliency, context: Context, carry: Carry) -> Result:
    judged: Judged = carry["judged"]
    samples = [context.manifest.sample(sample_id) for sample_id, _ in judged.cases]
    own = {s.group for s in samples}
    groups, unit = units([s.id for s in samples], [s.group for s in samples], study.unit)
    kinds = _kinds(study.methods())
    against = {
        (name, reference): differences(judged, name, reference, groups, context.seed)
        for name, metric in judged.metrics.items()
        if metric.better != "neither"
        for reference in (MASK_COPY, CHANCE)
    }
    for name in choice_versions(judged.metrics, "cbl"):
        against[name, KNOWN] = differences(judged, name, KNOWN, groups, context.seed)
    primary = (study.primary_label, MASK_COPY)
    tables = {
        "methods": method_table(judged, kinds, groups, context.seed),
        "means": mean_table(judged, groups, context.seed),
        "against": against_table(against),
        "cases": case_table(judged, context.model.classes),
        "values": value_table(judged, context.model.classes),
        "metrics": metric_table(judged, study.measures()),
    }
    pictures, rows = _gallery(study, judged, context.model.classes)
    tables["gallery"] = Table(rows, caption="Maps that are shown")
    return Result(
        study="saliency",
        findings=ranked(
            [
                *findings.better_than_copy(against.get(primary, []), kinds),
                *findings.blind(study.insensitive, judged, groups, context.seed, kinds),
                *(
                    claim
                    for name in choice_versions(judged.metrics, "cbl")
                    for claim in findings.sees_context(judged, against[name, KNOWN], kinds)
                ),
            ]
        ),
        tables=tables,
        arrays=_arrays(judged),
        images=pictures,
        timings={"seconds_per_map": _seconds(judged)},
        skipped=_skipped(context, carry, judged),
        notes=_notes(study, context, judged, len(own), unit),
    )


def _notes(
    study: Saliency, context: Context, judged: Judged, manifest_groups: int, unit: str
) -> dict[str, Any]:
    """What the report says of how the study was made."""
    return {
        "methods": list(judged.methods),
        "metrics": list(judged.metrics),
        "primary": study.primary_label,
        "classes": sorted({context.model.classes[c] for _, c in judged.cases}),
        "cases": len(judged.cases),
        "images": len({sample_id for sample_id, _ in judged.cases}),
        "images_given": len(context.manifest.samples),
        "unit": unit,
        "manifest_groups": manifest_groups,
        "layer": context.layer,
        "model": study.model.name,
        "origin": context.model.origin,
        "manifest": context.manifest.name,
        "region": study.target.region,
        "score": study.target.score,
        "sanity": min(study.sanity_images, len(judged.cases)),
        "insensitive": study.insensitive,
        "chance": _known_share(judged),
        "at": {name: at.tolist() for name, at in judged.at.items() if len(at)},
    }


def _known_share(judged: Judged) -> float | None:
    """How much of the surroundings the known context covers, in the mean over its cases."""
    known = judged.chance[np.isfinite(judged.chance)]
    return float(known.mean()) if len(known) else None


def _kinds(entries: Sequence[Choice]) -> dict[str, catalogue.Entry]:
    """Each method's row of the catalogue, by label."""
    names = [entry if isinstance(entry, str) else str(entry["kind"]) for entry in entries]
    rows = [catalogue.entry("explainers", name) for name in names]
    return dict(zip(choice_labels(entries), rows, strict=True))


def _seconds(judged: Judged) -> dict[str, float]:
    """Median seconds of one map, by method."""
    median = np.median(judged.seconds, axis=0).tolist()
    return dict(zip(judged.methods, median, strict=True))


def _gallery(
    study: Saliency, judged: Judged, classes: Sequence[str]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Pictures of the first cases, each map relative to its own method's largest values."""
    pictures, rows = {}, []
    limits = [shared_limit([maps[m] for maps in judged.maps]) for m in range(len(judged.methods))]
    side = study.picture_px
    for n, (maps, image, region) in enumerate(
        zip(judged.maps, judged.images, judged.regions, strict=True)
    ):
        sample_id, class_id = judged.cases[n]
        keys = {method: safe_key(f"map-{n}-{m}") for m, method in enumerate(judged.methods)}
        for m, key in enumerate(keys.values()):
            pictures[key] = overlay(image, maps[m], -limits[m], limits[m], mask=region, side=side)
        plain_key = safe_key(f"case-{n}")
        pictures[plain_key] = outlined(image, region, side)
        head = {"sample": sample_id, "class": classes[class_id], "picture": plain_key}
        rows.append({**head, "maps": list(keys.values())})
    return pictures, rows


def _arrays(judged: Judged) -> dict[str, np.ndarray]:
    """`values` as in the tables, `passes` of each kind, curves, and the maps that are shown."""
    arrays: dict[str, np.ndarray] = {
        "values": judged.values.astype(np.float32),
        "passes": judged.passes.astype(np.int64),
        **{safe_key(f"curve-{name}"): c.astype(np.float32) for name, c in judged.curves.items()},
    }
    for n, maps in enumerate(judged.maps):
        arrays[safe_key(f"maps-{n}")] = maps.astype(np.float32)
    return arrays


def _skipped(context: Context, carry: Carry, judged: Judged) -> list[dict[str, Any]]:
    drawn = {sample_id for sample_id, _ in judged.cases}
    return [
        {"kind": "sample", "sample": sample.id, "reason": "not drawn, or holds no class to explain"}
        for sample in context.manifest.samples
        if sample.id not in drawn
    ]

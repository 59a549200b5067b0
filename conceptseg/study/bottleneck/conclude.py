"""The result of a quality study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Carry, Context
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.bottleneck import gate, tables
from conceptseg.study.bottleneck.evaluate import Flagging, crossed, flagging
from conceptseg.study.bottleneck.findings import findings
from conceptseg.study.bottleneck.judge import Judged
from conceptseg.study.bottleneck.maps import quality_of
from conceptseg.study.bottleneck.slices import clusters, columns, enriched, judged
from conceptseg.study.bottleneck.slices import pairs as slice_pairs
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import Comparison

if TYPE_CHECKING:
    from conceptseg.study.bottleneck.config import Bottleneck

GROUPS_SHOWN = 12


def conclude(study: Bottleneck, context: Context, carry: Carry) -> Result:
    found: Judged = carry["judged"]
    comparison: Comparison = carry["comparison"]
    seed, classes = context.seed, context.model.classes
    samples = [context.manifest.sample(name) for name in found.ids]
    flags = _flags(study, found, seed)
    cluster = clusters(found.features["layer"].rows, study.slices, seed)
    values = columns(_metadata(context, found))
    kinds = {("cluster", f"cluster {c + 1}"): cluster == c for c in np.unique(cluster)}
    single: dict[str, np.ndarray] = {}
    for column, each in values.items():
        for value in sorted(set(each)):
            single[f"{column} = {value}"] = np.array([one == value for one in each])
    kinds |= {("metadata", name): members for name, members in single.items()}
    both = slice_pairs(single, study.min_slice)
    kinds |= {("pair", name): members for name, members in both.items()}
    confidence = flags.scores["raw"][0]
    slices = judged(
        kinds, found.quality, confidence, found.groups, least=study.min_slice, seed=seed
    )
    baseline = crossed(
        ("mean",),
        found.features["confidence"],
        found.quality,
        found.fold_groups,
        folds=study.folds,
        inner=study.inner,
        repeats=study.repeats,
        components=study.components,
        seed=study.seed,
    )
    rows, points = carry["shown"], carry["maps"].result()
    groups = [sample.group for sample in samples]
    few = groups if 1 < len(set(groups)) <= GROUPS_SHOWN else None
    made = {
        "standing": tables.standing_table(found, baseline, seed),
        "flags": tables.flag_table(flags, study.budget),
        "curve": tables.curve_table(flags),
        "calibration": tables.calibration_table(found),
        "coverage": tables.coverage_table(found, few, seed),
        "shift": _shift_table(carry["shifted"]),
        "slices": tables.slice_table(slices),
        "enrichment": Table(
            [row for row in enriched(cluster, values, found.groups) if row["p_bh"] <= 0.2],  # type: ignore[operator]
            caption="Metadata values that are frequent in a cluster (corrected p at most 0.2)",
        ),
        "classes": tables.class_table(found, classes, seed),
        "presence": tables.presence_table(found.presence, classes),
        "maps": Table(quality_of(found.features["layer"].rows[rows], points)),
        "images": tables.image_table(found, flags, cluster, groups),
        "mapped": _mapped_table(found, rows, points, cluster),
        "saliency": local_maps.table(comparison, classes),
    }
    return Result(
        study="bottleneck",
        findings=ranked(findings(study, found, flags, slices, made)),
        tables=made,
        arrays={
            **found.predictor.to_arrays(),
            **tables.map_rows(points),
            "pooled": found.measured.pooled[found.rows],
            "confidence": found.measured.confidence[found.rows],
        },
        images=_images(found, comparison),
        skipped=_skipped(context, found),
        notes=_notes(study, context, found, flags, comparison),
    )


def _flags(study: Bottleneck, found: Judged, seed: int) -> Flagging:
    """Flags of each feature set, against those of the confidence that was fitted like the layer.

    A gain over the network's mean largest probability, nothing fitted, would be that of fitting as
    much as that of the layer.
    """
    raw = found.measured.confidence[found.rows, 0].astype(np.float64)
    scores = {"raw": raw[None], **{name: one.predicted for name, one in found.fitted.items()}}
    return flagging(
        scores,
        found.quality,
        found.groups,
        below=study.failure,
        budget=study.budget,
        reference="confidence",
        seed=seed,
    )


def _metadata(context: Context, found: Judged) -> dict[str, list[str | float]]:
    samples = [context.manifest.sample(name) for name in found.ids]
    names = sorted({key for sample in samples for key in sample.metadata})
    told: dict[str, list[str | float]] = {
        name: [sample.metadata.get(name, "") for sample in samples] for name in names
    }
    if len({sample.split for sample in samples}) > 1:
        told["split"] = [sample.split or "" for sample in samples]
    return told


def _mapped_table(
    found: Judged, rows: np.ndarray, points: Mapping[str, np.ndarray], cluster: np.ndarray
) -> Table:
    predicted = found.predicted()
    listed = [
        {
            "sample": found.ids[row],
            "true": float(found.quality[row]),
            "predicted": float(predicted[row]),
            "cluster": int(cluster[row]) + 1,
            "picture": tables.picture_key(found.ids[row]),
            **{
                f"{name}_{axis}": float(each[0, place, k])
                for name, each in points.items()
                for k, axis in enumerate("xy")
            },
        }
        for place, row in enumerate(rows.tolist())
    ]
    return Table(listed, caption="Images on the maps")


def _shift_table(shifted: Sequence[Any]) -> Table:
    labels = {
        "outside": "turned away by the gate",
        "quality": "mean true quality",
        "predicted": "mean predicted quality",
        "covered": "covered, of those let in",
    }
    rows = [dict(vars(one)) for one in shifted]
    return Table(rows, labels=labels, caption="The predictor on spoilt images")


def _images(found: Judged, comparison: Comparison) -> dict[str, bytes]:
    kept = set(found.ids)
    images = {
        tables.picture_key(name): data
        for name, data in found.measured.pictures.items()
        if name in kept
    }
    images |= local_maps.pictures(comparison)
    return images


def _skipped(context: Context, found: Judged) -> list[dict[str, Any]]:
    kept = set(found.ids)
    return [
        {
            "kind": "sample",
            "sample": sample.id,
            "reason": "holds no studied class: no overlap is defined"
            if context.manifest.labelled(sample)
            else "no mask",
        }
        for sample in context.manifest.samples
        if sample.id not in kept
    ]


def _notes(
    study: Bottleneck, context: Context, found: Judged, flags: Flagging, comparison: Comparison
) -> dict[str, Any]:
    return {
        "model": study.model.name,
        "origin": context.model.origin,
        "manifest": context.manifest.name,
        "layer": context.layer,
        "classes": [context.model.classes[c] for c in found.class_ids],
        "images": len(found.ids),
        "images_given": len(context.manifest.samples),
        "unit": found.unit,
        "groups": len(set(found.groups.tolist())),
        "fold_groups": len(set(found.fold_groups.tolist())),
        "manifest_groups": len({context.manifest.sample(name).group for name in found.ids}),
        "by_group": bool(found.by_group),
        "quality": study.quality,
        "mean_quality": float(found.quality.mean()),
        "limit": flags.limit,
        "failed": int(flags.failed.sum()),
        "budget": study.budget,
        "coverage": study.coverage,
        "gate": gate.share(len(set(found.fold_groups.tolist())), study.gate),
        "deploy": study.deploy,
        "folds": study.folds,
        "repeats": study.repeats,
        "methods": list(comparison.methods),
    }

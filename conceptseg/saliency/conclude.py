"""The result of a saliency study: tables, findings in words, arrays and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import catalogue
from conceptseg.choice import Entry, labels, versions
from conceptseg.contracts import Carry, Context
from conceptseg.result import Result, Table, ranked, safe_key
from conceptseg.saliency import findings
from conceptseg.saliency.judge import PASSES, Judged
from conceptseg.saliency.standing import (
    CHANCE,
    KNOWN,
    MASK_COPY,
    Difference,
    differences,
    mean,
    overall,
)
from conceptseg.significance import units
from conceptseg.thumbnails import outlined, overlay, shared_limit

if TYPE_CHECKING:
    from conceptseg.study.saliency import Saliency

PASS_COLUMNS = tuple(f"{kind.replace(' ', '_')}s" for kind in PASSES)


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
    for name in versions(judged.metrics, "cbl"):
        against[name, KNOWN] = differences(judged, name, KNOWN, groups, context.seed)
    primary = (study.primary_label, MASK_COPY)
    tables = {
        "methods": _methods(judged, kinds, groups, context.seed),
        "means": _means(judged, groups, context.seed),
        "against": _against(against),
        "cases": _cases(judged, context.model.classes),
        "values": _values(judged, context.model.classes),
        "metrics": _metrics(judged, study.measures()),
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
                    for name in versions(judged.metrics, "cbl")
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


def _kinds(entries: Sequence[Entry]) -> dict[str, catalogue.Entry]:
    """Each method's row of the catalogue, by label."""
    names = [entry if isinstance(entry, str) else str(entry["kind"]) for entry in entries]
    rows = [catalogue.entry("explainers", name) for name in names]
    return dict(zip(labels(entries), rows, strict=True))


def _methods(
    judged: Judged, kinds: dict[str, catalogue.Entry], groups: Sequence[str], seed: int
) -> Table:
    """One row per method, best overall rank first: what it is, what it costs, how it ranks."""
    rank = overall(judged)
    rows = []
    for m, method in enumerate(judged.methods):
        place = mean(rank[:, m], groups, seed)
        passes = judged.passes[:, m].mean(0)
        rows.append(
            {
                "method": method,
                "family": kinds[method].family,
                "rank": place.value,
                "rank_low": place.low,
                "rank_high": place.high,
                **dict(zip(PASS_COLUMNS, passes.tolist(), strict=True)),
                "source": kinds[method].source,
            }
        )
    order = np.argsort(np.nan_to_num(rank, nan=np.inf).mean(0), kind="stable")
    rows = [rows[m] for m in order]
    names = {
        "rank": "mean rank",
        "rank_low": "rank, low",
        "rank_high": "rank, high",
        "forwards": "forward passes",
        "backwards": "backward passes",
        "tails": "tail passes",
        "tail_backwards": "tail backward passes",
    }
    return Table(rows, labels=names, caption="The methods, best mean rank first")


def _seconds(judged: Judged) -> dict[str, float]:
    """Median seconds of one map, by method."""
    median = np.median(judged.seconds, axis=0).tolist()
    return dict(zip(judged.methods, median, strict=True))


def _means(judged: Judged, groups: Sequence[str], seed: int) -> Table:
    rows = []
    for metric in judged.metrics:
        values = judged.of(metric)
        for m, method in enumerate(judged.methods):
            found = mean(values[:, m], groups, seed)
            rows.append(
                {
                    "method": method,
                    "metric": metric,
                    "mean": found.value,
                    "low": found.low,
                    "high": found.high,
                    "cases": found.n,
                }
            )
    return Table(rows, caption="Mean of each metric for each method, with 95 % intervals")


def _against(found: dict[tuple[str, str], list[Difference]]) -> Table:
    rows = [
        {
            "method": one.method,
            "metric": metric,
            "reference": reference,
            "difference": one.value,
            "low": one.low,
            "high": one.high,
            "p": one.p,
            "p_holm": one.p_holm,
            "p_least": one.p_least,
            "detectable": one.detectable,
            "cases": one.n,
        }
        for (metric, reference), each in found.items()
        for one in each
    ]
    names = {
        "difference": "better by",
        "p_holm": "p Holm",
        "p_least": "smallest it could be",
        "detectable": "smallest detectable difference",
    }
    return Table(rows, labels=names, caption="Each method against trivial maps, paired by case")


def _cases(judged: Judged, classes: Sequence[str]) -> Table:
    rows = [
        {"case": n + 1, "sample": sample_id, "class": classes[class_id]}
        for n, (sample_id, class_id) in enumerate(judged.cases)
    ]
    return Table(rows, caption="Images and classes that were explained")


def _values(judged: Judged, classes: Sequence[str]) -> Table:
    rows = []
    for n, (sample_id, class_id) in enumerate(judged.cases):
        for m, method in enumerate(judged.methods):
            told = dict(zip(judged.metrics, judged.values[n, m].tolist(), strict=True))
            head = {"sample": sample_id, "class": classes[class_id], "method": method}
            rows.append({**head, **told})
    return Table(rows, caption="Every metric of every method in every case")


def _metrics(judged: Judged, entries: Sequence[Entry]) -> Table:
    rows = []
    for (label, metric), entry in zip(judged.metrics.items(), entries, strict=True):
        kind = entry if isinstance(entry, str) else str(entry["kind"])
        row = catalogue.entry("metrics", kind)
        rows.append(
            {
                "metric": label,
                "what": row.summary,
                "better": metric.better,
                "parameters": ", ".join(f"{k} {v}" for k, v in metric.model_dump().items()),
                "source": row.source,
            }
        )
    return Table(rows, caption="The metrics")


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

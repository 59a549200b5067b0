"""The result of a permutation study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import local_maps
from conceptseg.compare import Comparison
from conceptseg.contracts import Carry, Context
from conceptseg.permutation.assess import (
    OVERALL,
    Importance,
    by_repeat,
    counted,
    interval,
    tested,
    usable,
)
from conceptseg.permutation.donors import derangement
from conceptseg.permutation.features import EVERYTHING, Feature
from conceptseg.permutation.permute import Deltas
from conceptseg.permutation.survey import Plan, drawn
from conceptseg.result import Finding, Result, Table, ranked, safe_key

if TYPE_CHECKING:
    from conceptseg.study.permutation import Permutation

ALPHA = 0.05
TOLD = 3
"""Parts of each class that findings tell."""
Row = dict[str, Any]


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


LABELS = {
    "value": "loss of IoU",
    "p_adjusted": "p adjusted",
    "p_least": "least p that groups allow",
    "detectable": "detectable loss",
    "ratio": "loss after / before",
    "likely": "rise of -log p",
    "border": "loss of border F",
    "repeats": "exchanges",
}


def importance_table(deltas: Deltas, found: Sequence[Importance], classes: Sequence[str]) -> Table:
    rows = []
    for one in found:
        variant = deltas.variants[one.variant]
        rows.append(
            {
                "part": variant.feature.name,
                "family": variant.feature.family,
                "scheme": variant.scheme,
                "class": OVERALL if one.class_id is None else classes[one.class_id],
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "p": one.p,
                "p_adjusted": one.p_adjusted,
                "p_least": one.p_least,
                "detectable": one.detectable,
                "ratio": one.ratio,
                "likely": one.likely,
                "border": one.border,
                "images": one.images,
                "groups": one.groups,
                "repeats": one.repeats,
            }
        )
    return Table(rows, labels=LABELS, caption="What exchanging each part costs each class")


def pair_table(
    study: Permutation,
    context: Context,
    carry: Carry,
    class_ids: Sequence[int],
    groups: np.ndarray,
) -> Table:
    """Synergy: what both parts cost together, less what each costs alone, image by image."""
    deltas: Deltas = carry["deltas"]
    pairs, overlap = carry["pairs"]
    alone = {v.feature.name: i for i, v in enumerate(deltas.variants) if v.scheme == "swap"}
    rows: list[Row] = []
    for place, (one, other) in enumerate(pairs):
        made = slice(0, study.repeats)
        parts = [
            by_repeat(deltas.overlap[:, alone[f.name], made][..., list(class_ids)])
            for f in (one, other)
        ]
        both = by_repeat(overlap[:, place][..., list(class_ids)])
        synergy = both - parts[0] - parts[1]
        kept = np.isfinite(synergy).all(1)
        low, high = interval(synergy[kept], groups[kept], context.seed)
        rows.append(
            {
                "one": one.name,
                "other": other.name,
                "first": float(parts[0][kept].mean()),
                "second": float(parts[1][kept].mean()),
                "both": float(both[kept].mean()),
                "synergy": float(synergy[kept].mean()),
                "low": low,
                "high": high,
            }
        )
    rows.sort(key=lambda row: -abs(row["synergy"]))
    labels = {
        "first": "loss, one",
        "second": "loss, other",
        "both": "loss, both",
        "synergy": "both less the sum",
    }
    return Table(rows, labels=labels, caption="Parts exchanged two at a time")


def tree_table(plan: Plan, found: Sequence[Importance], deltas: Deltas) -> Table:
    """Groups of like channels, in the order in which clustering forms them."""
    overall = {
        deltas.variants[one.variant].feature.name: one
        for one in found
        if one.class_id is None and deltas.variants[one.variant].scheme == "swap"
    }
    rows = [
        {
            "group": name,
            "height": height,
            "value": overall[name].value if name in overall else None,
            "low": overall[name].low if name in overall else None,
            "high": overall[name].high if name in overall else None,
        }
        for name, height in plan.tree
    ]
    labels = {"height": "1 - |correlation| (Ward)", "value": "loss of IoU"}
    return Table(rows, labels=labels, caption="Channels that go together")


def example_table(carry: Carry, plan: Plan) -> Table:
    rows = []
    for n, sample_id in enumerate(carry["drawn"]):
        for name in carry["drawn"][sample_id]:
            told = {"clean": "the image, its labels and prediction", "donor": "the donor"}
            if name.isdecimal():
                variant = plan.variants[int(name)]
                told[name] = f"{variant.feature.name}, {variant.scheme}"
            key = safe_key(f"example-{n}-{name}")
            rows.append({"sample": sample_id, "what": told[name], "picture": key})
    return Table(rows, caption="Examples of exchanges")


def clean_table(deltas: Deltas, class_ids: Sequence[int], classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[c],
            "images": int(np.isfinite(deltas.clean[:, c]).sum()),
            "iou": 1 - float(np.nanmean(deltas.clean[:, c])),
        }
        for c in class_ids
    ]
    return Table(rows, labels={"iou": "mean IoU"}, caption="The classes, nothing exchanged")


def findings(deltas: Deltas, found: Sequence[Importance], classes: Sequence[str]) -> list[Finding]:
    """Parts that are needed over all classes, and of each class those that it needs most."""
    swaps = [o for o in found if deltas.variants[o.variant].scheme == "swap"]
    conditional = {
        (deltas.variants[o.variant].feature.name, o.class_id): o
        for o in found
        if deltas.variants[o.variant].scheme == "conditional"
    }
    told = []
    needed = [
        o
        for o in swaps
        if o.p_adjusted <= ALPHA and deltas.variants[o.variant].feature.name != EVERYTHING
    ]
    for class_id in dict.fromkeys(o.class_id for o in needed):
        own = sorted((o for o in needed if o.class_id == class_id), key=lambda o: -o.value)
        for one in own if class_id is None else own[:TOLD]:
            feature = deltas.variants[one.variant].feature
            given = conditional.get((feature.name, class_id))
            told.append(_finding(one, feature, given, classes))
    return told


def _finding(
    one: Importance,
    feature: Feature,
    given: Importance | None,
    classes: Sequence[str],
) -> Finding:
    who = "The network" if one.class_id is None else classes[one.class_id]
    claim = (
        f"{who} cannot do without {feature.name}: with another image's in its place, IoU falls by "
        f"{one.value:.3f}"
        + (f" ({one.ratio:.1f} times the loss)" if np.isfinite(one.ratio) else "")
        + "."
    )
    if given is not None:
        claim += (
            f" Given the other channels it falls by {given.value:.3f}"
            + ("" if given.p_adjusted <= ALPHA else ", which is no evidence of need")
            + "."
        )
    return Finding(
        claim=claim,
        class_=None if one.class_id is None else classes[one.class_id],
        effect=one.value,
        ci=(one.low, one.high),
        p=one.p,
        p_adjusted=one.p_adjusted,
        n=one.groups,
        evidence="forest" if one.class_id is None else "by-class",
        details={
            "effect_name": "loss of IoU when exchanged",
            "part": feature.name,
            "conditional": None if given is None else given.value,
        },
    )

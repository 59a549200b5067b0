"""The tables of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Carry, Context
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.permutation.assess import OVERALL, Importance, by_repeat, interval
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.survey import Plan

if TYPE_CHECKING:
    from conceptseg.study.permutation.config import Permutation


Row = dict[str, Any]


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

"""The tables of a permutation result."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.permutation.assess import CHOSEN_PARTS, Importance, estimate
from conceptseg.study.permutation.config import OVERALL, Permutation
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.permute import PAIRED
from conceptseg.study.permutation.pictures import DRAWN, held, shown
from conceptseg.study.permutation.survey import PLAN, Plan

ENDS = ("low", "high")
LOSS = Column("value", "loss of IoU", interval=True, ends=ENDS, of="loss")
P = Column("p", of=lambda one: one.test.p)
P_ADJUSTED = Column("p_adjusted", "p adjusted", of=lambda one: one.test.adjusted)
P_LEAST = Column("p_least", "least p that groups allow", of=lambda one: one.test.least)
COLUMNS = (
    Column("part", of=lambda one: one.variant.feature.name),
    Column("family", of=lambda one: one.variant.feature.family),
    Column("scheme", of=lambda one: one.variant.scheme),
    Column("class", of="class_name"),
    LOSS,
    P,
    P_ADJUSTED,
    P_LEAST,
    Column("detectable", "detectable loss"),
    Column("ratio", "loss after / before"),
    Column("likely", "rise of -log p"),
    Column("border", "loss of border F"),
    "images",
    Column("groups", of=lambda one: one.loss.n),
    Column("repeats", "exchanges"),
)
SYNERGY = Column("synergy", "both less the sum", interval=True, ends=ENDS)


def importance(importances: Iterable[Importance]) -> Table:
    return Table.of(importances, COLUMNS, "What exchanging each part costs each class")


def pairs(study: Permutation, known: Known, class_ids: Sequence[int], sampling: Sampling) -> Table:
    """Synergy: what both parts cost together, less what each costs alone, image by image."""
    deltas, chosen, ids = known[DELTAS], known[CHOSEN_PARTS], list(class_ids)
    alone = {v.feature.name: i for i, v in enumerate(deltas.variants) if v.scheme == "swap"}
    rows: list[dict[str, Any]] = []
    for place, parts in enumerate(chosen):
        losses = [deltas.overlap[:, alone[part.name], : study.repeats] for part in parts]
        losses.append(known[PAIRED].column("overlap")[:, place])
        first, second, both = (finite_mean(one[..., ids], 2) for one in losses)
        synergy = both - first - second
        kept = np.isfinite(synergy).all(1)
        rows.append(
            {
                "one": parts[0].name,
                "other": parts[1].name,
                "first": float(first[kept].mean()),
                "second": float(second[kept].mean()),
                "both": float(both[kept].mean()),
                **SYNERGY.cells(estimate(synergy[kept], sampling.at(kept))),
            }
        )
    rows.sort(key=lambda row: -abs(row["synergy"]))
    labels = {"first": "loss, one", "second": "loss, other", "both": "loss, both"}
    return Table(rows, labels={**labels, **SYNERGY.labels}, caption="Parts exchanged two at a time")


def tree(plan: Plan, importances: Iterable[Importance]) -> Table:
    """Groups of like channels, in the order in which clustering forms them."""
    losses = {
        one.variant.feature.name: one.loss
        for one in importances
        if one.class_name == OVERALL and one.variant.scheme == "swap"
    }
    columns = (
        Column("group", of=lambda branch: branch[0]),
        Column("height", "1 - |correlation| (Ward)", of=lambda branch: branch[1]),
        replace(LOSS, of=lambda branch: losses.get(branch[0])),
    )
    return Table.of(plan.tree, columns, "Correlated channels")


def examples(study: Permutation, known: Known, classes: Sequence[str]) -> Table:
    """Of each picture the image, the classes that it holds, and whether it is one of the gallery's:
    others are there for what is claimed of their classes."""
    deltas, rows = known[DELTAS], []
    first = shown(deltas, study.gallery)
    for n, (sample_id, pictures) in enumerate(known[DRAWN].items()):
        own = held(deltas, deltas.ids.index(sample_id), classes)
        for name in pictures:
            what = {"clean": "the image, its labels and prediction", "donor": "the donor"}
            if name.isdecimal():
                variant = known[PLAN].variants[int(name)]
                what[name] = f"{variant.feature.name}, {variant.scheme}"
            rows.append(
                {
                    "sample": sample_id,
                    "what": what[name],
                    "picture": example_key(n, name),
                    "classes": own,
                    "gallery": sample_id in first,
                }
            )
    return Table(rows, caption="Examples of exchanges")


def example_key(number: int, name: str) -> str:
    """The key of a picture: of which image, and under which exchange."""
    return safe_key(f"example-{number}-{name}")


def clean(deltas: Deltas, class_ids: Sequence[int], classes: Sequence[str]) -> Table:
    columns = (
        Column("class", of=lambda c: classes[c]),
        Column("images", of=lambda c: int(np.isfinite(deltas.clean[:, c]).sum())),
        Column("iou", "mean IoU", of=lambda c: 1 - float(np.nanmean(deltas.clean[:, c]))),
    )
    return Table.of(class_ids, columns, "The classes, nothing exchanged")

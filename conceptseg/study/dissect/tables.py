"""The tables of a dissection's result, and the columns that its report draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.result.columns import Column, labels_of
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.dissect.ablate import Ablations, Loss
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.dissect.pictures import Shown

NO_LOSS = "none"
OVERLAP = Column("overlap", "overlap above chance", interval=True, brief="overlap")
NORMALISED = Column("normalised_iou", "IoU / largest possible")
ACTIVE_SHARE = Column("active_share", "active share")
CHANGE = Column("change", "change of IoU", interval=True, brief="change", ends=("low", "high"))
RANDOM = Column("random", "change, random units")
P_HOLM = Column("p_holm", "p corrected")
CONCEPTS = Column("concepts", "concepts seen often enough")
WITH_DETECTOR = Column("unique", "concepts with a detector")
DETECTORS = Column("detectors", "units that detect one")
ANGLE = Column("angle", "share of the way to a random basis")


def units(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for every unit of the layer, by number, dead ones last."""
    losses = ablations.unit_losses
    edit = {unit: edit for edit, unit in enumerate(ablations.cards)}
    places = range(len(detection.plan.live))
    worst = [_worst(losses, edit.get(i)) for i in places]
    cells = [
        *_unit_cells(detection),
        (
            Column("used_by", "used by (alone)"),
            [used_by(losses, edit[i], classes) if i in edit else None for i in places],
        ),
        (
            Column("worst_class", "class that loses most"),
            [loss and classes[loss.class_id] for loss in worst],
        ),
        (
            Column("worst_change", "its change of IoU"),
            [loss and loss.change.value for loss in worst],
        ),
    ]
    keys = [column.key for column, _ in cells]
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*(c for _, c in cells), strict=True)]
    for unit in detection.plan.dead:
        rows.append(dict.fromkeys(keys) | {"unit": unit, "state": "dead", "detector": False})
    labels = labels_of(column for column, _ in cells)
    return Table(rows, tuple(keys), labels, "Every unit of the layer")


def _unit_cells(detection: Detection) -> list[tuple[Column, Any]]:
    """Columns with their cells, one for each live unit."""
    plan, chosen, scored = detection.plan, detection.chosen, detection.scored
    concept, quantile, formulas = chosen.concept, chosen.quantile, detection.formulas
    units, names = np.arange(len(plan.live)), np.array(plan.vocabulary.names)
    return [
        (Column("unit"), plan.live),
        (Column("state"), ["live"] * len(units)),
        (Column("label", "best concept"), names[concept]),
        (Column("category"), [plan.vocabulary.kind(c) for c in concept.tolist()]),
        (Column("detector"), detection.detector),
        (OVERLAP.alone, scored.above_chance),
        (Column("overlap_low", "overlap, low"), [one.low for one in detection.overlap]),
        (Column("overlap_high", "overlap, high"), [one.high for one in detection.overlap]),
        (Column("iou", "IoU"), scored.iou),
        (Column("ceiling", "largest possible IoU"), scored.ceiling),
        (NORMALISED, scored.normalised),
        (Column("quantile", "active share wanted"), np.array(detection.quantiles)[quantile]),
        (ACTIVE_SHARE, detection.active_share[units, quantile]),
        (Column("side", "active where its value is"), np.where(chosen.low, "low", "high")),
        (Column("threshold"), chosen.threshold),
        (Column("auroc", "AUROC"), detection.auroc[units, concept]),
        (Column("average_precision"), detection.precision[units, concept]),
        (Column("concept_share", "concept's share"), detection.share[concept]),
        (Column("p"), detection.permuted.p),
        (Column("p_adjusted", "p Benjamini-Hochberg"), detection.p_bh),
        (Column("p_family", "p family-wise"), detection.permuted.p_family),
        (Column("formula"), [one.formula.words(plan.vocabulary.names) for one in formulas]),
        (Column("formula_iou", "IoU of formula, held out"), [one.score for one in formulas]),
        (
            Column("single_iou", "IoU of one concept, held out"),
            [one.single_score for one in formulas],
        ),
        (
            Column("published_label", "published rule: concept"),
            names[detection.published_concept],
        ),
        (Column("published_iou", "published rule: IoU"), detection.published_iou),
    ]


def used_by(losses: Sequence[Loss], edit: int, classes: Sequence[str]) -> str:
    """The classes that count as losing under an edit, the largest loss first."""
    own = [loss for loss in losses if loss.edit == edit and loss.used]
    own.sort(key=lambda loss: (loss.change.value, loss.class_id))
    return ", ".join(classes[loss.class_id] for loss in own)


def _worst(losses: Sequence[Loss], edit: int | None) -> Loss | None:
    own = [loss for loss in losses if loss.edit == edit]
    return min(own, key=lambda loss: (loss.change.value, loss.class_id), default=None)


def concepts(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for every concept: how often it is seen, who detects it, who uses that."""
    vocabulary = detection.plan.vocabulary
    rows = []
    for concept, name in enumerate(vocabulary.names):
        row: dict[str, Any] = {
            "concept": name,
            "category": vocabulary.kind(concept),
            "images": detection.images[concept],
            "share": detection.share[concept],
            **dict.fromkeys(("detectors", "best_unit", "best_overlap", "best_normalised")),
            **dict.fromkeys(("best_auroc", "ablated_units", "used_by")),
        }
        if concept in detection.allowed:
            best = int(detection.best_units(concept, 1)[0])
            row["detectors"] = len(detection.detectors(concept))
            row["best_unit"] = detection.plan.live[best]
            row["best_overlap"] = detection.grid[best, concept]
            row["best_normalised"] = detection.grid_normalised[best, concept]
            row["best_auroc"] = np.nanmax(detection.auroc[:, concept])
        if concept in ablations.concepts:
            edit = ablations.concepts.index(concept)
            row["ablated_units"] = len(ablations.sets[edit])
            row["used_by"] = used_by(ablations.concept_losses, edit, classes) or NO_LOSS
        rows.append(row)
    labels = {
        "share": "share of pixels",
        "best_unit": "best unit",
        "best_overlap": "its overlap above chance",
        "best_normalised": "its IoU / largest possible",
        "best_auroc": "largest AUROC",
        "ablated_units": "units ablated",
        "used_by": "classes that lose",
    }
    return Table(rows, labels=labels, caption="Every concept that units were compared with")


def losses(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for each concept whose units were ablated together, and class."""
    names = [detection.plan.vocabulary.names[concept] for concept in ablations.concepts]
    edits = (
        Column("concept", of=lambda loss: names[loss.edit]),
        Column("units", "units ablated", of=lambda loss: len(ablations.sets[loss.edit])),
    )
    return Table.of(ablations.concept_losses, (*edits, *_loss_columns(classes)))


def unit_losses(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for each unit that was ablated alone, and class."""
    names, cards = detection.plan.vocabulary.names, ablations.cards
    edits = (
        Column("unit", of=lambda loss: detection.plan.live[cards[loss.edit]]),
        Column("label", of=lambda loss: names[detection.chosen.concept[cards[loss.edit]]]),
    )
    return Table.of(ablations.unit_losses, (*edits, *_loss_columns(classes)))


def _loss_columns(classes: Sequence[str]) -> tuple[Column | str, ...]:
    return (
        Column("class", of=lambda loss: classes[loss.class_id]),
        "used",
        CHANGE,
        RANDOM,
        Column("p", of=lambda loss: loss.test.p),
        Column(P_HOLM.key, P_HOLM.label, of=lambda loss: loss.test.adjusted),
        "images",
        Column("iou", "IoU before", of="clean"),
        Column("detectable", "smallest detectable change", of=lambda loss: loss.test.detectable),
    )


def categories(detection: Detection) -> Table:
    """Per category: concepts, those with a detector, detectors."""
    vocabulary = detection.plan.vocabulary
    rows = []
    for g, category in enumerate(vocabulary.categories):
        own = np.intersect1d(np.flatnonzero(vocabulary.category == g), detection.allowed)
        count = [len(detection.detectors(concept)) for concept in own.tolist()]
        numbers = (len(own), sum(c > 0 for c in count), sum(count))
        keys = (CONCEPTS.key, WITH_DETECTOR.key, DETECTORS.key)
        rows.append({"category": category.name, **dict(zip(keys, numbers, strict=True))})
    return Table(rows, labels=labels_of((CONCEPTS, WITH_DETECTOR, DETECTORS)))


def curves(detection: Detection, ablations: Ablations) -> Table:
    """Per shown unit and quantile: IoU with its concept, its ceiling, and what is above chance."""
    curve = detection.curve
    columns: list[tuple[Column, np.ndarray]] = [
        (ACTIVE_SHARE, detection.active_share),
        (Column("iou", "IoU"), curve.iou),
        (Column("ceiling", "largest possible IoU"), curve.ceiling),
        (NORMALISED, curve.normalised),
        (Column("chance"), curve.chance),
        (OVERLAP.alone, curve.above_chance),
    ]
    rows = [
        {
            "unit": detection.plan.live[i],
            "quantile": wanted,
            **{column.key: values[i, q] for column, values in columns},
        }
        for i in ablations.cards
        for q, wanted in enumerate(detection.quantiles)
    ]
    labels = {"quantile": "active share wanted", **labels_of(column for column, _ in columns)}
    return Table(rows, labels=labels)


def exemplars(detection: Detection, ablations: Ablations, shown: Shown) -> Table:
    rows = [
        {
            "unit": detection.plan.live[i],
            "sample": sample_id,
            "value": value,
            "picture": picture_key(sample_id),
            "outline": shown.outlines[i, sample_id],
        }
        for i in ablations.cards
        for sample_id, value in detection.exemplars(i)
    ]
    return Table(rows)


def picture_key(sample_id: str) -> str:
    return safe_key(f"photo-{sample_id}")


def rotation(detection: Detection) -> Table:
    labels = {
        **labels_of((ANGLE, WITH_DETECTOR)),
        "published_detectors": "detectors, published rule",
        "published_unique": "concepts, published rule",
    }
    return Table(detection.rotated, labels=labels)

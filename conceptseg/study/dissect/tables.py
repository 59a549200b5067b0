"""The tables of a dissection's result, and the columns that its report draws."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from conceptseg.result.columns import Column, labels_of
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.dissect.ablate import Ablations, Loss
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.dissect.findings import detecting, words
from conceptseg.study.dissect.remaining import Remaining

NO_LOSS = "none"
CONTEXT = "context"
"""Category of the concepts that the data set itself names as context."""
OVERLAP = Column("overlap", "overlap above chance", interval=True, brief="overlap")
NORMALISED = Column("normalised_iou", "IoU / largest possible")
WANTED = Column("quantile", "active share wanted")
ACTIVE_SHARE = Column("active_share", "active share")
CHANGE = Column("change", "change of IoU", interval=True, brief="change", ends=("low", "high"))
RANDOM = Column("random", "change, random units")
P_HOLM = Column("p_holm", "p corrected", of=lambda loss: loss.test.adjusted)
CONCEPTS = Column("concepts", "concepts seen often enough")
WITH_DETECTOR = Column("unique", "concepts with a detector")
DETECTORS = Column("detectors", "units that detect one")
ANGLE = Column("angle", "share of the way to a random basis")


def units(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for every unit of the layer, by number, dead ones last."""
    plan, chosen, scored = detection.plan, detection.chosen, detection.scored
    concept, formulas = chosen.concept, detection.formulas
    places, names = np.arange(len(plan.live)), np.array(plan.vocabulary.names)
    losses, edit = ablations.unit_losses, {unit: e for e, unit in enumerate(ablations.cards)}
    used = [used_by(losses, edit[i], classes) if i in edit else None for i in places.tolist()]
    worst = [_worst(losses, edit.get(i)) for i in places.tolist()]
    columns = (
        Column("unit").at(plan.alive),
        Column("state", of=lambda _: "live"),
        Column("label", "best concept").at(names[concept]),
        Column("category", of=lambda i: plan.vocabulary.kind(concept[i])),
        Column("detector").at(detection.detector),
        OVERLAP.at(detection.overlap),
        Column("iou", "IoU").at(scored.iou),
        Column("ceiling", "largest possible IoU").at(scored.ceiling),
        NORMALISED.at(scored.normalised),
        WANTED.at(np.array(detection.quantiles)[chosen.quantile]),
        ACTIVE_SHARE.at(detection.active_share[places, chosen.quantile]),
        Column("side", "active where its value is").at(np.where(chosen.low, "low", "high")),
        Column("threshold").at(chosen.threshold),
        Column("auroc", "AUROC").at(detection.auroc[places, concept]),
        Column("average_precision").at(detection.precision[places, concept]),
        Column("concept_share", "concept's share").at(detection.share[concept]),
        Column("p").at(detection.permuted.p),
        Column("p_adjusted", "p Benjamini-Hochberg").at(detection.p_bh),
        Column("p_family", "p family-wise").at(detection.permuted.p_family),
        Column("formula", of=lambda i: formulas[i].formula.words(plan.vocabulary.names)),
        Column("formula_iou", "IoU of formula, held out", of=lambda i: formulas[i].score),
        Column("single_iou", "IoU of one concept, held out", of=lambda i: formulas[i].single_score),
        Column("published_label", "published rule: concept").at(names[detection.published_concept]),
        Column("published_iou", "published rule: IoU").at(detection.published_iou),
        Column("used_by", "used by (alone)").at(used),
        Column("worst_class", "class that loses most").at(
            [loss and classes[loss.class_id] for loss in worst]
        ),
        Column("worst_change", "its change of IoU").at(
            [loss and loss.change.value for loss in worst]
        ),
    )
    live = Table.of(places.tolist(), columns, "Every unit of the layer")
    dead = {"state": "dead", "detector": False}
    rows = [dict.fromkeys(live.columns) | {"unit": unit} | dead for unit in plan.dead]
    return replace(live, rows=[*live.rows, *rows])


def used_by(losses: Sequence[Loss], edit: int, classes: Sequence[str]) -> str:
    """The classes that count as losing under an edit, the largest loss first."""
    own = [loss for loss in losses if loss.edit == edit and loss.used]
    own.sort(key=lambda loss: (loss.change.value, loss.class_id))
    return ", ".join(classes[loss.class_id] for loss in own)


def _worst(losses: Sequence[Loss], edit: int | None) -> Loss | None:
    own = [loss for loss in losses if loss.edit == edit]
    return min(own, key=lambda loss: (loss.change.value, loss.class_id), default=None)


def concepts(
    detection: Detection,
    ablations: Ablations,
    remaining: Sequence[Remaining],
    classes: Sequence[str],
) -> Table:
    """A row for every concept: how often it is seen, who detects it, who uses that."""
    vocabulary, live = detection.plan.vocabulary, detection.plan.alive
    best = {c: int(detection.best_units(c, 1)[0]) for c in detection.allowed.tolist()}
    overlap = {c: detection.grid[unit, c] for c, unit in best.items()}
    normalised = {c: detection.grid_normalised[unit, c] for c, unit in best.items()}
    auroc = {c: np.nanmax(detection.auroc[:, c]) for c in best}
    edit = {c: e for e, own in enumerate(ablations.concepts) for c in own}
    ablated = {c: len(ablations.sets[e]) for c, e in edit.items()}
    read = {c: remaining[e] for c, e in edit.items()}
    used = {c: used_by(ablations.concept_losses, e, classes) or NO_LOSS for c, e in edit.items()}
    columns = (
        Column("concept").at(vocabulary.names),
        Column("category", of=vocabulary.kind),
        Column("images").at(detection.images),
        Column("share", "share of pixels").at(detection.share),
        Column("detectors", of={c: len(detection.detectors(c)) for c in best}.get),
        Column("best_unit", "best unit", of={c: live[u] for c, u in best.items()}.get),
        Column("best_overlap", "its overlap above chance", of=overlap.get),
        Column("best_normalised", "its IoU / largest possible", of=normalised.get),
        Column("best_auroc", "largest AUROC", of=auroc.get),
        Column("ablated_units", "units ablated", of=ablated.get),
        Column(
            "read", "AUROC of the whole layer", of=lambda c: c in read and read[c].whole or None
        ),
        Column("rest", "AUROC without these units", of=lambda c: c in read and read[c].auc or None),
        Column("used_by", "classes shown to lose", of=used.get),
    )
    caption = "Every concept that units were compared with"
    return Table.of(range(len(vocabulary.names)), columns, caption)


def losses(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for each concept whose units were ablated together, and class.

    Several concepts may have the same units: then `of_context` says whether one of them is context.
    """
    vocabulary = detection.plan.vocabulary
    names = [words([vocabulary.names[c] for c in own]) for own in ablations.concepts]
    context = [any(vocabulary.kind(c) == CONTEXT for c in own) for own in ablations.concepts]
    pairs = zip(ablations.sets, ablations.concepts, strict=True)
    detect = [detecting(detection, units, own) for units, own in pairs]
    edits = (
        Column("concept", of=lambda loss: names[loss.edit]),
        Column("of_context", "context", of=lambda loss: context[loss.edit]),
        Column("units", "units ablated", of=lambda loss: len(ablations.sets[loss.edit])),
        Column("detecting", "of these, detect it", of=lambda loss: detect[loss.edit]),
    )
    return Table.of(ablations.concept_losses, (*edits, *_loss_columns(classes)))


def unit_losses(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for each unit that was ablated alone, and class."""
    names, cards = detection.plan.vocabulary.names, ablations.cards
    live = detection.plan.alive
    edits = (
        Column("unit", of=lambda loss: live[cards[loss.edit]]),
        Column("label", of=lambda loss: names[detection.chosen.concept[cards[loss.edit]]]),
    )
    return Table.of(ablations.unit_losses, (*edits, *_loss_columns(classes)))


def _loss_columns(classes: Sequence[str]) -> tuple[Column | str, ...]:
    return (
        Column("class", of=lambda loss: classes[loss.class_id]),
        "used",
        "verdict",
        CHANGE,
        Column("missed", "of that, its own pixels missed", of=lambda loss: loss.how.missed.value),
        Column("false", "other places called it", of=lambda loss: loss.how.false.value),
        RANDOM,
        Column("p", of=lambda loss: loss.test.p),
        P_HOLM,
        Column("p_random", "p (one more random set)"),
        "images",
        Column("iou", "IoU before", of="clean"),
        Column("detectable", "smallest detectable loss", of=lambda loss: loss.test.detectable),
        Column("needs", "would be testable with", of=lambda loss: loss.test.needs or None),
    )


def categories(detection: Detection) -> Table:
    """Per category: concepts, those with a detector, detectors."""
    vocabulary = detection.plan.vocabulary
    found: dict[str, list[int]] = {category.name: [] for category in vocabulary.categories}
    for concept in detection.allowed.tolist():
        found[vocabulary.kind(concept)].append(len(detection.detectors(concept)))
    columns = (
        Column("category", of=lambda item: item[0]),
        replace(CONCEPTS, of=lambda item: len(item[1])),
        replace(WITH_DETECTOR, of=lambda item: np.count_nonzero(item[1])),
        replace(DETECTORS, of=lambda item: sum(item[1])),
    )
    return Table.of(found.items(), columns)


def curves(detection: Detection, ablations: Ablations) -> Table:
    """Per shown unit and quantile: IoU with its concept, its ceiling, and what is above chance."""
    curve, live = detection.curve, detection.plan.alive
    columns = (
        Column("unit", of=lambda pair: live[pair[0]]),
        replace(WANTED, of=lambda pair: detection.quantiles[pair[1]]),
        ACTIVE_SHARE.at(detection.active_share),
        Column("iou", "IoU").at(curve.iou),
        Column("ceiling", "largest possible IoU").at(curve.ceiling),
        NORMALISED.at(curve.normalised),
        Column("chance").at(curve.chance),
        OVERLAP.alone.at(curve.above_chance),
    )
    return Table.of(product(ablations.cards, range(len(detection.quantiles))), columns)


def exemplars(
    detection: Detection, ablations: Ablations, outlines: dict[tuple[int, str], str]
) -> Table:
    live, sampling = detection.plan.alive, detection.plan.sampling
    group = dict(zip(sampling.ids, sampling.groups, strict=True))
    rows = [
        {
            "unit": live[i],
            "sample": sample_id,
            "group": group[sample_id],
            "value": value,
            "picture": picture_key(sample_id),
            "outline": outlines[i, sample_id],
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

"""The tables of a dissection's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.dissect.ablate import Ablations, Loss
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.dissect.pictures import Shown

if TYPE_CHECKING:
    from conceptseg.study.dissect.config import Dissect

NO_LOSS = "none"


def used_by(losses: Sequence[Loss], edit: int, classes: Sequence[str]) -> str:
    """The classes that count as losing under an edit, the largest loss first."""
    own = sorted((loss.change, loss.class_id) for loss in losses if loss.edit == edit and loss.used)
    return ", ".join(classes[class_id] for _, class_id in own)


def units(found: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for every unit of the layer, by number, dead ones last."""
    place = {int(unit): i for i, unit in enumerate(found.plan.live)}
    card = {unit: edit for edit, unit in enumerate(ablations.cards)}
    rows = []
    for unit in (*place, *found.plan.dead):
        if unit not in place:
            rows.append(dict.fromkeys(UNIT_LABELS) | {"unit": unit, "state": "dead"})
            rows[-1]["detector"] = False
            continue
        i = place[unit]
        row = {"unit": unit, "state": "live", **_unit(found, i)}
        row["used_by"] = None
        if i in card:
            row["used_by"] = used_by(ablations.unit_losses, card[i], classes)
            worst = _worst(ablations.unit_losses, card[i])
            row["worst_class"] = None if worst is None else classes[worst.class_id]
            row["worst_change"] = None if worst is None else worst.change
        rows.append({name: row.get(name) for name in UNIT_LABELS})
    return Table(rows, tuple(UNIT_LABELS), UNIT_LABELS, "Every unit of the layer")


UNIT_LABELS = {
    "unit": "unit",
    "state": "state",
    "label": "best concept",
    "category": "category",
    "detector": "detector",
    "overlap": "overlap above chance",
    "overlap_low": "overlap, low",
    "overlap_high": "overlap, high",
    "iou": "IoU",
    "ceiling": "largest possible IoU",
    "normalised_iou": "IoU / largest possible",
    "quantile": "active share wanted",
    "active_share": "active share",
    "side": "active where its value is",
    "threshold": "threshold",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "concept_share": "concept's share",
    "p": "p",
    "p_adjusted": "p Benjamini-Hochberg",
    "p_family": "p family-wise",
    "formula": "formula",
    "formula_iou": "IoU of formula, held out",
    "single_iou": "IoU of one concept, held out",
    "published_label": "published rule: concept",
    "published_iou": "published rule: IoU",
    "used_by": "used by (alone)",
    "worst_class": "class that loses most",
    "worst_change": "its change of IoU",
}


def _unit(found: Detection, i: int) -> dict[str, Any]:
    names, chosen, scored = found.plan.vocabulary.names, found.chosen, found.scored
    concept, explained = int(chosen.concept[i]), found.formulas[i]
    return {
        "label": names[concept],
        "category": found.plan.vocabulary.kind(concept),
        "detector": bool(found.detector[i]),
        "overlap": float(scored.above_chance[i]),
        "overlap_low": float(found.interval[i, 0]),
        "overlap_high": float(found.interval[i, 1]),
        "iou": float(scored.iou[i]),
        "ceiling": float(scored.ceiling[i]),
        "normalised_iou": float(scored.normalised[i]),
        "quantile": found.quantiles[int(chosen.quantile[i])],
        "active_share": float(found.active_share[i, chosen.quantile[i]]),
        "side": "low" if chosen.low[i] else "high",
        "threshold": float(chosen.threshold[i]),
        "auroc": float(found.auroc[i, concept]),
        "average_precision": float(found.precision[i, concept]),
        "concept_share": float(found.share[concept]),
        "p": float(found.permuted.p[i]),
        "p_adjusted": float(found.p_bh[i]),
        "p_family": float(found.permuted.p_family[i]),
        "formula": explained.formula.words(names),
        "formula_iou": explained.score,
        "single_iou": explained.single_score,
        "published_label": names[int(found.published_concept[i])],
        "published_iou": float(found.published_iou[i]),
    }


def _worst(losses: Sequence[Loss], edit: int) -> Loss | None:
    own = [loss for loss in losses if loss.edit == edit]
    return min(own, key=lambda loss: (loss.change, loss.class_id), default=None)


def concepts(found: Detection, ablations: Ablations, classes: Sequence[str]) -> Table:
    """A row for every concept: how often it is seen, who detects it, who uses that."""
    vocabulary = found.plan.vocabulary
    rows = []
    for concept, name in enumerate(vocabulary.names):
        enough = concept in found.allowed
        best = int(found.best_units(concept, 1)[0]) if enough else 0
        row: dict[str, Any] = {
            "concept": name,
            "category": vocabulary.kind(concept),
            "images": int(found.images[concept]),
            "share": float(found.share[concept]),
            "detectors": len(found.detectors(concept)) if enough else None,
            "best_unit": int(found.plan.live[best]) if enough else None,
            "best_overlap": float(found.grid[best, concept]) if enough else None,
            "best_normalised": float(found.grid_normalised[best, concept]) if enough else None,
            "best_auroc": float(np.nanmax(found.auroc[:, concept])) if enough else None,
            "ablated_units": None,
            "used_by": None,
        }
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


def losses(
    found: Sequence[Loss], edits: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> Table:
    """A row for each edit (its own columns given in `edits`) and class."""
    rows = [
        {
            **edits[loss.edit],
            "class": classes[loss.class_id],
            "used": loss.used,
            "change": loss.change,
            "low": loss.interval[0],
            "high": loss.interval[1],
            "random": loss.random,
            "p": loss.p,
            "p_holm": loss.p_holm,
            "images": loss.images,
            "iou": loss.clean,
            "detectable": loss.detectable,
        }
        for loss in found
    ]
    labels = {
        "units": "units ablated",
        "change": "change of IoU",
        "low": "change, low",
        "high": "change, high",
        "random": "change, random units",
        "p_holm": "p Holm",
        "iou": "IoU before",
        "detectable": "smallest detectable change",
    }
    return Table(rows, labels=labels)


def categories(found: Detection) -> Table:
    """Per category: concepts, those with a detector, detectors."""
    vocabulary = found.plan.vocabulary
    rows = []
    for g, category in enumerate(vocabulary.categories):
        own = np.flatnonzero(vocabulary.category == g)
        count = [len(found.detectors(c)) if c in found.allowed else 0 for c in own.tolist()]
        rows.append(
            {
                "category": category.name,
                "concepts": int(np.isin(own, found.allowed).sum()),
                "unique": int(sum(c > 0 for c in count)),
                "detectors": int(sum(count)),
            }
        )
    labels = {
        "concepts": "concepts seen often enough",
        "unique": "concepts with a detector",
        "detectors": "detectors",
    }
    return Table(rows, labels=labels)


def curves(found: Detection, ablations: Ablations) -> Table:
    """Per shown unit and quantile: IoU with its concept, its ceiling, and what is above chance."""
    rows = []
    for i in ablations.cards:
        for q, wanted in enumerate(found.quantiles):
            rows.append(
                {
                    "unit": int(found.plan.live[i]),
                    "quantile": wanted,
                    "active_share": float(found.active_share[i, q]),
                    "iou": float(found.curve.iou[i, q]),
                    "ceiling": float(found.curve.ceiling[i, q]),
                    "normalised_iou": float(found.curve.normalised[i, q]),
                    "chance": float(found.curve.chance[i, q]),
                    "overlap": float(found.curve.above_chance[i, q]),
                }
            )
    return Table(
        rows, labels={name: UNIT_LABELS.get(name, name) for name in rows[0]} if rows else {}
    )


def exemplars(found: Detection, ablations: Ablations, shown: Shown) -> Table:
    rows = [
        {
            "unit": int(found.plan.live[i]),
            "sample": sample_id,
            "value": value,
            "picture": picture_key(sample_id),
            "outline": shown.outlines[i, sample_id],
        }
        for i in ablations.cards
        for sample_id, value in found.exemplars(i)
    ]
    return Table(rows)


def picture_key(sample_id: str) -> str:
    return safe_key(f"photo-{sample_id}")


def rotation(found: Detection) -> Table:
    labels = {
        "angle": "share of the way to a random basis",
        "unique": "concepts with a detector",
        "published_detectors": "detectors, published rule",
        "published_unique": "concepts, published rule",
    }
    return Table([dict(row) for row in found.rotated.rows], labels=labels)


def null_curve(study: Dissect, found: Detection) -> dict[str, float | int | bool]:
    """What permuted labels gave, in few numbers."""
    chance = found.permuted
    return {
        "permutations": chance.draws,
        "shifted": int(chance.shifted.sum()),
        "images": chance.images,
        "grouped": chance.grouped,
        "rate": chance.rate,
        "detectors": chance.detectors,
        "published": chance.published,
    }

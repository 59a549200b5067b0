"""The tables of an ACE result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import bootstrap_interval, wilson_interval
from conceptseg.study.ace.assess import ALPHA, Pair
from conceptseg.study.ace.discover import CALIBRATION_DRAWS
from conceptseg.study.ace.discovery import Discovery
from conceptseg.study.ace.erase import Erasures
from conceptseg.study.ace.pictures import Shown, exemplars

if TYPE_CHECKING:
    from conceptseg.study.ace.config import Ace


def pair_table(pairs: Sequence[Pair], classes: Sequence[str]) -> Table:
    rows = []
    for pair in pairs:
        row = asdict(pair)
        row["class"] = classes[row.pop("class_id")]
        row["concept"] = pair.concept + 1
        for name in ("moves_ci", "loss_ci", "outside_ci"):
            row[f"{name[:-3]}_low"], row[f"{name[:-3]}_high"] = row.pop(name)
        rows.append(row)
    order = ["class", "concept", "used", "from_context", "loss", "loss_low", "loss_high"]
    rest = [name for name in (rows[0] if rows else ()) if name not in order]
    return Table(rows, (*order, *rest), LABELS, "Every class and concept that was tested")


LABELS = {
    "moves": "score change",
    "moves_low": "score change, low",
    "moves_high": "score change, high",
    "p_moves": "p (score change)",
    "p_alignment": "p (score change per unit of length)",
    "tcav": "TCAV",
    "tcav_outside": "TCAV outside",
    "smooth_tcav": "smooth TCAV",
    "p_tcav": "p (TCAV)",
    "p_published": "p (published test, not calibrated)",
    "outside_share": "share of gradient from outside",
    "loss": "IoU change",
    "loss_low": "IoU change, low",
    "loss_high": "IoU change, high",
    "null_loss": "IoU change, random direction",
    "p_loss": "p (IoU change)",
    "outside_loss": "IoU change, erased outside only",
    "outside_low": "outside only, low",
    "outside_high": "outside only, high",
    "detectable": "smallest detectable IoU change",
    "erased_images": "images erased",
    "p": "p (both)",
    "p_holm": "p Holm",
    "p_bh": "p Benjamini-Hochberg",
    "p_moves_holm": "p Holm (score change)",
    "p_moves_bh": "p Benjamini-Hochberg (score change)",
    "p_moves_max": "p max-statistic (score change)",
    "from_context": "acts from context",
}


def concept_table(study: Ace, found: Discovery, names: Sequence[str], shown: Shown) -> Table:
    rows = []
    for concept, name in zip(found.concepts, names, strict=True):
        seen = [shown.isolation[row] for row in exemplars(study, found, concept).tolist()]
        rows.append(
            {
                "concept": concept.number,
                "seen_on": name,
                "segments": len(concept.members),
                "images": concept.images,
                "area": float(found.area[concept.core].mean()),
                "auc": concept.auc,
                "stability": concept.stability,
                "agreement": concept.agreement,
                "isolation": float(np.mean(seen)),
            }
        )
    labels = {
        "seen_on": "seen on",
        "area": "mean area (share of image)",
        "auc": "AUC on images the CAV did not see",
        "stability": "stability over seeds (Jaccard)",
        "agreement": "cosine of pattern and ridge CAV",
        "isolation": "cosine of the segment alone with itself in place",
    }
    return Table(rows, labels=labels, caption="The concepts")


def exemplar_table(study: Ace, found: Discovery, shown: Shown) -> Table:
    rows = []
    for concept in found.concepts:
        for row in exemplars(study, found, concept).tolist():
            rows.append({"concept": concept.number, **_segment(found, row, shown)})
    return Table(rows, caption="Segments that stand for each concept")


def _segment(found: Discovery, row: int, shown: Shown) -> dict[str, Any]:
    top, left, bottom, right = (int(edge) for edge in found.box[row])
    return {
        "sample": found.ids[found.image[row]],
        "picture": picture_key(found.ids[found.image[row]]),
        "level": int(found.level[row]),
        "segment": int(found.number[row]),
        "top": top,
        "left": left,
        "bottom": bottom,
        "right": right,
        "outline": shown.outlines.get(row, ""),
    }


def map_table(found: Discovery, rows: np.ndarray, shown: Shown) -> Table:
    concept_of = np.zeros(len(found.image), dtype=np.int64)
    for concept in found.concepts:
        concept_of[concept.members] = concept.number
    listed = [
        {"concept": int(concept_of[row]), **_segment(found, row, shown)} for row in rows.tolist()
    ]
    return Table(listed, caption="Segments on the map; concept 0 is none")


def class_table(
    study: Ace,
    found: Discovery,
    erasures: Erasures,
    pairs: Sequence[Pair],
    classes: Sequence[str],
) -> Table:
    rows = []
    for class_id, images in sorted(found.class_images.items()):
        clean = erasures.clean[:, class_id]
        good = np.flatnonzero(np.isfinite(clean))
        groups = [erasures.groups[i] for i in good]
        lost = erasures.layer_loss(class_id)[good].astype(np.float64)
        low, high = bootstrap_interval(lost, groups, seed=study.seed) if len(good) else (None, None)
        mine = [pair for pair in pairs if pair.class_id == class_id]
        detectable = [pair.detectable for pair in mine if np.isfinite(pair.detectable)]
        rows.append(
            {
                "class": classes[class_id],
                "images": len(images),
                "iou": float(clean[good].mean()) if len(good) else None,
                "layer_loss": float(lost.mean()) if len(good) else None,
                "layer_low": low,
                "layer_high": high,
                "concepts_tested": len(mine),
                "concepts_used": sum(pair.used for pair in mine),
                "from_context": sum(pair.from_context for pair in mine),
                "detectable": float(np.median(detectable)) if detectable else None,
            }
        )
    labels = {
        "iou": "IoU",
        "layer_loss": "IoU change, layer set to its mean",
        "layer_low": "low",
        "layer_high": "high",
        "concepts_tested": "concepts tested",
        "concepts_used": "concepts used",
        "from_context": "of these from context",
        "detectable": "median smallest detectable IoU change",
    }
    return Table(rows, labels=labels, caption="The classes")


def calibration_table(study: Ace, found: Discovery, classes: Sequence[str]) -> Table:
    rows = []
    for class_id, p in sorted(found.null_p.items()):
        if len(p):
            rate = float((p <= ALPHA).mean())
            # All random concepts of a make-up are compared with the same draws.
            low, high = wilson_interval(rate, 1 / (1 / len(p) + 1 / CALIBRATION_DRAWS))
            rows.append(
                {
                    "class": classes[class_id],
                    "random_concepts": len(p),
                    "false_positive_rate": rate,
                    "low": low,
                    "high": high,
                }
            )
    labels = {"random_concepts": "random concepts", "false_positive_rate": "share with p <= 0.05"}
    return Table(rows, labels=labels, caption="The test, tried on random concepts")


def picture_key(sample_id: str) -> str:
    """The key of a sample's photo among the result's images."""
    return safe_key(f"photo-{sample_id}")

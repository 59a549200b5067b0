"""The tables of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.ability.assess import ASSESSED, Assessed, Level, Mean
from conceptseg.study.ability.findings import ALPHA
from conceptseg.study.ability.pictures import exemplars, shown
from conceptseg.study.ability.read import VARIANTS, Abilities

if TYPE_CHECKING:
    from conceptseg.study.ability.config import Ability


Row = dict[str, Any]


def spread(row: Row, name: str, found: Mean | None) -> Row:
    """The row with a mean and the ends of its interval."""
    row[name] = None if found is None else found.value
    row[f"{name}_low"] = None if found is None else found.low
    row[f"{name}_high"] = None if found is None else found.high
    return row


LABELS = {
    "global": "ability",
    "global_low": "ability, low",
    "global_high": "ability, high",
    "per_image": "per-image prototypes",
    "probe": "linear probe",
    "noise": "noise, per-image prototypes",
    "shuffled": "shuffled network",
    "shuffled_probe": "probe, shuffled network",
    "excess": "above the shuffled network",
    "excess_low": "above shuffled, low",
    "excess_high": "above shuffled, high",
    "excess_images": "above shuffled, images",
    "probe_excess": "probe above the shuffled network's",
    "probe_excess_low": "probe above shuffled's, low",
    "probe_excess_high": "probe above shuffled's, high",
    "above": "above the output",
    "above_low": "above the output, low",
    "above_high": "above the output, high",
    "above_images": "images, of above the output",
    "p_adjusted": "p, all cells together",
    "tested": "enough units to test",
}


def level_table(levels: Sequence[Level], classes: Sequence[str]) -> Table:
    rows = []
    for one in levels:
        row: Row = {"class": classes[one.class_id], "layer": one.layer}
        spread(row, "global", one.readings["global"])
        for name in VARIANTS[1:]:
            value = one.readings[name]
            row[name] = None if value is None else value.value
        spread(row, "excess", one.excess)
        row["excess_images"] = 0 if one.excess is None else one.excess.n
        spread(row, "probe_excess", one.probe_excess)
        spread(row, "above", one.above)
        row |= {"p": one.p, "p_adjusted": one.p_adjusted, "tested": one.least <= ALPHA}
        row["above_images"] = one.above.n
        row["images"] = 0 if one.readings["global"] is None else one.readings["global"].n
        rows.append(row)
    return Table(rows, labels=LABELS, caption="Dice of each class as each layer is read")


def class_table(told: Assessed, classes: Sequence[str]) -> Table:
    rows = []
    for one in told.emergence:
        row: Row = {"class": classes[one.class_id], "images": one.images}
        spread(row, "output", one.output)
        row |= {
            "emerges": one.layer,
            "doubt": one.doubt or None,
            "share": one.share,
            "probe_emerges": one.probe_layer,
            "best": one.best,
            "best_dice": one.best_dice,
            "last_dice": one.last_dice,
            "forgotten": sum(o.class_id == one.class_id for o in told.forgotten),
        }
        spread(row, "fade", one.fade)
        rows.append(row)
    labels = {
        "output": "Dice of the output",
        "output_low": "Dice, low",
        "output_high": "Dice, high",
        "emerges": "emerges at",
        "doubt": "no depth is told, as",
        "share": "draws that agree",
        "probe_emerges": "emerges at, by the probe",
        "best": "best layer, by hindsight",
        "best_dice": "ability there",
        "fade": "best above last, chosen on other images",
        "fade_low": "best above last, low",
        "fade_high": "best above last, high",
        "last_dice": "ability of the last layer",
        "forgotten": "forgotten objects",
    }
    return Table(rows, labels=labels, caption="Where each class emerges")


def unit_table(study: Ability, context: Context, known: Known, classes: Sequence[str]) -> Table:
    told = known[ASSESSED]
    where = exemplars(study, context, known)
    rows = [
        {
            "class": classes[class_id],
            "rank": rank + 1,
            "layer": one.layer,
            "unit": one.unit,
            "dice": one.dice,
            "low": one.low,
            "high": one.high,
            "images": one.n,
            "sample": where[class_id][0],
            "picture": safe_key(f"drawn-unit-{class_id}-{rank}"),
        }
        for class_id, leaders in told.leaders.items()
        for rank, one in enumerate(leaders)
    ]
    labels = {"dice": "Dice on images that did not choose it"}
    return Table(rows, labels=labels, caption="Units that read a class best")


def forgotten_table(study: Ability, known: Known, classes: Sequence[str]) -> Table:
    told = known[ASSESSED]
    drawn = len(shown(study, known))
    rows = [
        {
            "sample": one.sample,
            "class": classes[one.class_id],
            "layer": one.layer,
            "seen": one.seen,
            "output": one.output,
            "lost": one.seen - one.output,
            "picture": n if n < drawn else None,
        }
        for n, one in enumerate(told.forgotten)
    ]
    labels = {"seen": "Dice at the layer", "output": "Dice of the output", "lost": "lost"}
    return Table(rows, labels=labels, caption="Objects that a layer saw and the output lost")


def estimate_table(told: Assessed) -> Table:
    names = {
        "agreement": "agreement of the layers with the prediction",
        "confidence": "mean largest probability",
        "difference": "difference",
    }
    rows = [
        {
            "told_from": names[name],
            "spearman": one.value,
            "low": one.low,
            "high": one.high,
            "images": one.n,
        }
        for name, one in told.estimates.items()
    ]
    labels = {"told_from": "told from", "spearman": "rank correlation with true Dice"}
    return Table(rows, labels=labels, caption="Quality told without labels")


def image_table(found: Abilities, told: Assessed, classes: Sequence[str]) -> Table:
    """Each image and class it holds: the output's Dice, and the best layer's by prototypes."""
    dice = found.dice[:, VARIANTS.index("global"), :-1]
    rows = []
    for row, sample in enumerate(found.ids):
        for class_id in told.class_ids:
            output = found.output[row, class_id]
            if np.isfinite(output):
                layer = int(np.argmax(dice[row, :, class_id]))
                rows.append(
                    {
                        "sample": sample,
                        "class": classes[class_id],
                        "output": float(output),
                        "best_layer": found.layers[layer],
                        "seen": float(dice[row, layer, class_id]),
                    }
                )
    return Table(
        rows, caption="Each image and class: Dice of the output and of the best layer, by hindsight"
    )

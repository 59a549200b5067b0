"""What a class as a whole rests on, over the channels that were looked at. No network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column, labels_of
from conceptseg.result.table import Table
from conceptseg.stats.intervals import GAPS, PORTIONS
from conceptseg.study.lcrp.assess import SCORES
from conceptseg.study.lcrp.background import SENSITIVITY as CHANGES
from conceptseg.study.lcrp.background import sensitivity
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.maps import MAPS, ContextScores
from conceptseg.study.lcrp.shuffles import SHUFFLES
from conceptseg.study.lcrp.tables import (
    CONTEXT,
    LESS,
    OVER_FIELD,
    OVER_SHUFFLED,
    SENSITIVITY,
    THROUGH,
    UNKNOWN,
)

FROM_CONTEXT = (
    "class",
    Column("acting", "channels that act"),
    Column("less", "with less context than by chance"),
    Column("unknown", "inconclusive"),
    CONTEXT,
    Column("shuffled", "with shuffled weights"),
    OVER_SHUFFLED,
    Column("field", "spread evenly"),
    OVER_FIELD,
    SENSITIVITY,
)
SPREAD = (
    "class",
    "images",
    THROUGH,
    Column("covered", "share of relevance that was looked at"),
    Column("complexity", "share of channels that hold 80 % of it"),
    Column("variation", "mean deviation of a channel's share"),
    Column("largest", "largest context score of a channel"),
)


def class_table(study: Lcrp, context: Context, known: Known) -> Table:
    """A row for each class."""
    rows = [_row(study, context, known, c) for c in known[CHOSEN_PAIRS].classes]
    return Table(rows, labels=labels_of((*FROM_CONTEXT, *SPREAD)), caption="The classes")


def _row(study: Lcrp, context: Context, known: Known, class_id: int) -> dict[str, Any]:
    """Scores and their excess are of the mean over images drawn at random."""
    chosen, changes, maps = known[CHOSEN_PAIRS], known[CHANGES], known[MAPS]
    concepts = chosen.concepts[class_id]
    scores = [score for score in known[SCORES] if score.class_id == class_id]
    finite = [s.context.value for s in scores if np.isfinite(s.context.value)]
    changed = [row for k in concepts for row in changes.get((class_id, k), [])]
    drawn = chosen.drawn(class_id, study.random_images)
    score = weighed(chosen, maps, class_id, drawn)
    shuffles = known[SHUFFLES]
    shuffled = shuffles.baseline(class_id, maps.field, drawn)
    margin = shuffles.margin(class_id, maps.field)
    field, sampling = maps.fields(class_id, drawn), chosen.sampling.named(drawn)
    return {
        "class": context.model.classes[class_id],
        "images": chosen.count[class_id],
        **CONTEXT.cells(sampling.mean(score, within=PORTIONS)),
        "shuffled": sampling.mean(shuffled).value,
        **OVER_SHUFFLED.cells(sampling.mean(score - shuffled, within=GAPS).widened(margin)),
        "field": sampling.mean(field).value,
        **OVER_FIELD.cells(sampling.mean(score - field, within=GAPS)),
        **SENSITIVITY.cells(sensitivity(changed, chosen.sampling)),
        "largest": max(finite, default=None),
        "acting": sum(score.acts for score in scores),
        "less": sum(score.verdict == LESS for score in scores),
        "unknown": sum(score.verdict == UNKNOWN for score in scores),
        "covered": float(np.abs(chosen.mean[class_id])[list(concepts)].sum()),
        "complexity": float(np.nanmean(chosen.complexity[class_id])),
        "variation": float(chosen.spread[class_id].mean()),
        **THROUGH.cells(
            chosen.sampling.named(chosen.images[class_id]).mean(chosen.through[class_id])
        ),
    }


def weighed(chosen: Chosen, maps: ContextScores, class_id: int, drawn: Sequence[str]) -> np.ndarray:
    """Context score of each image [n]: the mean over channels, weighed by the class's relevance.

    nan where no channel has a map with a positive part.
    """
    total, weight = np.zeros(len(drawn)), np.zeros(len(drawn))
    place = {s: i for i, s in enumerate(drawn)}
    for unit in chosen.concepts[class_id]:
        rows = maps.rows(class_id, unit, drawn)
        at = [place[str(s)] for s in maps.columns["sample"][rows]]
        share = float(chosen.mean[class_id][unit])
        total[at] += share * maps.columns["context"][rows]
        weight[at] += share
    return np.divide(total, weight, out=np.full(len(drawn), np.nan), where=weight > 0)

"""What a class as a whole rests on, over the channels that were looked at. No network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.result.table import Table
from conceptseg.study.lcrp.assess import Score, interval, paired
from conceptseg.study.lcrp.background import Sensitivity
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.maps import Found
from conceptseg.study.lcrp.shuffles import Shuffles

if TYPE_CHECKING:
    from conceptseg.study.lcrp.config import Lcrp

Ends = tuple[float, float]


def class_table(
    study: Lcrp,
    chosen: Chosen,
    maps: Found,
    scores: Sequence[Score],
    control: Shuffles,
    sensitivity: Mapping[tuple[int, int], Sensitivity],
    classes: Sequence[str],
) -> Table:
    """A row per class; numbers over images have `_low` and `_high`, the ends of their interval."""
    rows = []
    for c in chosen.classes:
        mine = [s for s in scores if s.class_id == c]
        groups = [chosen.groups[s] for s in chosen.images[c]]
        parts = [sensitivity[c, k] for k in chosen.concepts[c] if (c, k) in sensitivity]
        changed = Sensitivity.joined(parts)
        row: dict[str, Any] = {"class": classes[c], "images": chosen.count[c]}
        row |= _context(study, chosen, maps, control, c)
        row |= _with("sensitivity", changed.value, changed.interval(chosen.groups, study.seed))
        row |= {
            "largest": max((s.context for s in mine if np.isfinite(s.context)), default=None),
            "acting": sum(s.acts for s in mine),
            "not_acting": sum(s.verdict == "does not" for s in mine),
            "unknown": sum(s.verdict == "cannot be told" for s in mine),
            "covered": float(np.abs(chosen.mean[c])[list(chosen.concepts[c])].sum()),
            "complexity": float(np.nanmean(chosen.complexity[c])),
            "variation": float(chosen.spread[c].mean()),
        }
        through = chosen.through[c]
        row |= _with("through", float(through.mean()), interval(through, groups, study.seed))
        rows.append(row)
    return Table(rows, caption="The classes")


def _context(
    study: Lcrp,
    chosen: Chosen,
    maps: Found,
    control: Shuffles,
    class_id: int,
) -> dict[str, float]:
    """The class's context score and its excess, each of the mean over images drawn at random."""
    drawn = chosen.drawn(class_id, study.random_images)
    groups = [chosen.groups[s] for s in drawn]
    score = weighed(chosen, maps, class_id, drawn)
    found = _with("context", *paired(score, groups, study.seed))
    field = np.array([maps.field.get((s, class_id), np.nan) for s in drawn], np.float64)
    shuffled = control.baseline(class_id, maps.field, drawn)
    for name, baseline in (("shuffled", shuffled), ("field", field)):
        found[name] = paired(baseline, groups, study.seed)[0]
        found |= _with(f"over_{name}", *paired(score - baseline, groups, study.seed))
    return found


def weighed(chosen: Chosen, maps: Found, class_id: int, drawn: Sequence[str]) -> np.ndarray:
    """Context score of each image [n]: the mean over channels, weighed by the class's relevance.

    nan where no channel has a map with a positive part.
    """
    total, weight = np.zeros(len(drawn)), np.zeros(len(drawn))
    place = {s: i for i, s in enumerate(drawn)}
    for unit in chosen.concepts[class_id]:
        rows = maps.rows(class_id, unit, drawn)
        rows = rows[maps.columns["mass"][rows] > 0]
        at = [place[str(s)] for s in maps.columns["sample"][rows]]
        share = float(chosen.mean[class_id][unit])
        total[at] += share * maps.columns["context"][rows]
        weight[at] += share
    return np.divide(total, weight, out=np.full(len(drawn), np.nan), where=weight > 0)


def _with(name: str, value: float, ends: Ends) -> dict[str, float]:
    return {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}

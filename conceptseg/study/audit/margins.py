"""How much of its surroundings each class keeps, by the context that is tested on it.

A margin keeps the seam away from the object. It also keeps whatever of the context lies there, in
both kinds of surroundings: a ground that reaches up to the object can then never be swapped away.
So a context that mostly fills the margin is tested without one.
"""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.survey import GRID, HOLDINGS, PLAN, Holdings, arms

FILLED = 0.5
"""Part of the margin from which on a context that lies there is taken to act from there."""
MARGINS: Key[dict[tuple[int, int], float]] = Key("margins", dict)
"""In pixels, by class and the context's place."""


def fit_margins(study: Audit, context: Context, known: Known) -> Known:
    """The margin for each class and context: none where a context fills it, if it is not given."""
    held, plan, usual = known[HOLDINGS], known[PLAN], known[MARGIN]
    place = {name: row for row, name in enumerate(held.ids)}
    margins: dict[tuple[int, int], float] = {}
    for c, contexts in plan.contexts.items():
        rows = np.array([place[name] for name in plan.recipients[c]])
        for q in contexts:
            one = known[CONTEXTS][q]
            margins[c, q] = usual
            if study.margin == "auto" and one.located:
                there = rows[arms(study, held, q, one)[0][rows]]
                if filled(held, there, c, q, usual) >= FILLED:
                    margins[c, q] = 0.0
    return MARGINS(margins)


def filled(held: Holdings, rows: np.ndarray, class_id: int, context: int, margin: float) -> float:
    """The part of the margin around a class that a context takes, in cells, mean over images; 0 of
    no images."""
    from scipy.ndimage import binary_dilation

    parts = []
    for row, lies in zip(rows.tolist(), held.lies(rows, context), strict=True):
        region = held.ground[row] == class_id
        cell = np.sqrt(held.size[row]) / GRID
        wide = binary_dilation(region, np.ones((3, 3), bool), max(1, round(margin / cell)))
        around = wide & ~region
        if around.any():
            parts.append((lies & around).sum() / around.sum())
    return float(np.mean(parts)) if parts else 0.0


def margins_of(known: Known, class_id: int) -> list[float]:
    """The margins with which a class is swapped."""
    return sorted({known[MARGINS][class_id, q] for q in known[PLAN].contexts[class_id]})

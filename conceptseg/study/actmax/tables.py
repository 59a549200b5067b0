"""The tables of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.actmax.exemplars import Real
from conceptseg.study.actmax.judge import Judged
from conceptseg.study.actmax.survey import Survey


def unit_table(found: Survey, numbers: Judged, labels: Sequence[str]) -> Table:
    quantiles = np.quantile(found.values, [0.5, 0.95], axis=0)
    rows = []
    for g, (unit, name) in enumerate(zip(found.objective.ids, found.names, strict=True)):
        row: dict[str, Any] = {
            "unit": unit,
            "name": name,
            "label": labels[g],
            "verdict": numbers.verdict[g],
            "real_median": quantiles[0, g],
            "real_q95": quantiles[1, g],
            "real_max": numbers.largest[g],
            "noise": numbers.before[g],
            "reached": numbers.after[g],
            "percentile": numbers.percentile[g],
            "of_real_max": ratio(numbers.after[g], numbers.largest[g]),
        }
        for space, one in numbers.spaces.items():
            row |= {
                f"alike_{space}": one.own[g],
                f"above_{space}": one.above[g],
                f"p_{space}": one.p[g],
                f"p_bh_{space}": one.p_bh[g],
                f"seeds_agree_{space}": one.agree[g],
            }
        rows.append(row)
    labels_of = {
        "label": "detects (dissect)",
        "real_median": "real images, median",
        "real_q95": "real images, 95 %",
        "real_max": "real images, largest",
        "noise": "noise it began with",
        "reached": "picture",
        "percentile": "share of real images below",
        "of_real_max": "picture / largest real",
        "alike_earlier": "likeness, earlier layer",
        "above_earlier": "other units less alike",
        "p_bh_earlier": "p BH, earlier layer",
        "seeds_agree_earlier": "seeds agree (cosine)",
        "alike_forgot": "likeness, shuffled network",
        "above_forgot": "other units less alike, shuffled",
        "p_bh_forgot": "p BH, shuffled network",
    }
    return Table(rows, labels=labels_of, caption="What each picture reaches and resembles")


def exemplar_table(found: Survey, real: Real) -> Table:
    rows = [
        {
            "feature": g,
            "unit": unit,
            "sample": sample_id,
            "value": value,
            "picture": photo_key(sample_id),
            "outline": real.outlines[g, sample_id],
        }
        for g, unit in enumerate(found.objective.ids)
        for sample_id, value in found.exemplars(g)
    ]
    return Table(rows, caption="The real images that excite each unit most")


def ratio(reached: float, largest: float) -> float:
    """What was reached over the largest real value; nan where that is not positive."""
    return float(reached / largest) if largest > 0 else float("nan")


def photo_key(sample_id: str) -> str:
    return safe_key(f"photo-{sample_id}")

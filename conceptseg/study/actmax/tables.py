"""The tables of the result."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.result.columns import labels_of
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.actmax.columns import UNITS
from conceptseg.study.actmax.exemplars import Real
from conceptseg.study.actmax.judge import Judged
from conceptseg.study.actmax.survey import Survey


def unit_table(survey: Survey, judged: Judged, labels: Sequence[str]) -> Table:
    quantiles = np.quantile(survey.values, [0.5, 0.95], axis=0)
    rows = []
    for g, (unit, name) in enumerate(zip(survey.objective.ids, survey.names, strict=True)):
        row: dict[str, Any] = {
            "unit": unit,
            "name": name,
            "label": labels[g],
            "verdict": judged.verdict[g],
            "real_median": quantiles[0, g],
            "real_q95": quantiles[1, g],
            "real_max": judged.largest[g],
            "noise": judged.before[g],
            "reached": judged.after[g],
            "percentile": judged.percentile[g],
            "of_real_max": ratio(judged.after[g], judged.largest[g]),
        }
        for space, one in judged.spaces.items():
            row |= {
                f"alike_{space}": one.own[g],
                f"above_{space}": one.above[g],
                f"p_{space}": one.tests[g].p,
                f"p_bh_{space}": one.tests[g].adjusted,
                f"seeds_agree_{space}": one.agree[g],
            }
        rows.append(row)
    caption = "What each picture reaches and resembles"
    return Table(rows, labels=labels_of(UNITS), caption=caption)


def exemplar_table(survey: Survey, real: Real) -> Table:
    rows = [
        {
            "feature": g,
            "unit": unit,
            "sample": sample_id,
            "value": value,
            "picture": photo_key(sample_id),
            "outline": real.outlines[g, sample_id],
        }
        for g, unit in enumerate(survey.objective.ids)
        for sample_id, value in survey.exemplars(g)
    ]
    return Table(rows, caption="The real images that excite each unit most")


def ratio(reached: float, largest: float) -> float:
    """What was reached over the largest real value; nan where that is not positive."""
    return float(reached / largest) if largest > 0 else float("nan")


def photo_key(sample_id: str) -> str:
    return safe_key(f"photo-{sample_id}")

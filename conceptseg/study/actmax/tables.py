"""The tables of an actmax result, and the columns that its report draws."""

from collections.abc import Sequence

import numpy as np

from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.actmax.exemplars import Real
from conceptseg.study.actmax.judge import Judged
from conceptseg.study.actmax.survey import Survey

OF_REAL_MAX = Column("of_real_max", "picture / largest real")
ABOVE = {
    "earlier": Column("above_earlier", "other units less alike"),
    "forgot": Column("above_forgot", "other units less alike, shuffled"),
}
SPACES = {"earlier": "earlier layer", "forgot": "shuffled network"}
P_BH = {space: Column(f"p_bh_{space}", f"p BH, {name}") for space, name in SPACES.items()}


def unit_table(survey: Survey, judged: Judged, labels: Sequence[str]) -> Table:
    median, high = np.quantile(survey.values, [0.5, 0.95], axis=0)
    shares = [ratio(*pair) for pair in zip(judged.after, judged.largest, strict=True)]
    columns = [
        Column("unit").at(survey.objective.ids),
        Column("name").at(survey.names),
        Column("label", "detects (dissect)").at(labels),
        Column("verdict").at(judged.verdict),
        Column("real_median", "real images, median").at(median),
        Column("real_q95", "real images, 95 %").at(high),
        Column("real_max", "real images, largest").at(judged.largest),
        Column("noise", "noise it began with").at(judged.before),
        Column("reached", "picture").at(judged.after),
        Column("percentile", "share of real images below").at(judged.percentile),
        OF_REAL_MAX.at(shares),
    ]
    for space, one in judged.spaces.items():
        agreement = "seeds agree (cosine)" if space == "earlier" else ""
        columns += [
            Column(f"alike_{space}", f"likeness, {SPACES[space]}").at(one.own),
            ABOVE[space].at(one.above),
            Column(f"p_{space}").at([test.p for test in one.tests]),
            P_BH[space].at([test.adjusted for test in one.tests]),
            Column(f"seeds_agree_{space}", agreement).at(one.agree),
        ]
    caption = "What each picture reaches and resembles"
    return Table.of(range(len(survey.names)), columns, caption)


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

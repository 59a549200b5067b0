"""What is claimed, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.stats.intervals import bootstrap_interval
from conceptseg.stats.p_values import sign_flip_p
from conceptseg.study.actmax.judge import Judged
from conceptseg.study.actmax.survey import Survey
from conceptseg.study.actmax.tables import ratio as _ratio

if TYPE_CHECKING:
    from conceptseg.study.actmax.config import Actmax


def findings(
    study: Actmax, found: Survey, numbers: Judged, labels: Sequence[str], seed: int
) -> list[Finding]:
    main = numbers.spaces.get("earlier", numbers.spaces["forgot"])
    result = []
    usable = np.flatnonzero(numbers.started & np.isfinite(main.above))
    if len(usable) >= 2:
        excess = main.above[usable] - 0.5
        members = [str(i) for i in usable]
        low, high = bootstrap_interval(excess, members, seed=seed)
        p = sign_flip_p(excess, members, seed=seed)
        passed = sum(word == "representative" for word in numbers.verdict)
        testable = passed + sum(
            word in ("beyond the data", "not representative") for word in numbers.verdict
        )
        singly = (
            f"{passed} of the {testable} pictures that can be judged one by one pass that test"
            if testable
            else "too few units are compared to judge any picture by itself"
        )
        result.append(
            Finding(
                claim=f"A unit's picture is more like its own real images than like those of "
                f"{excess.mean() + 0.5:.0%} of the other units, on average (50 % by chance); "
                f"{singly}.",
                effect=float(excess.mean()),
                ci=(low, high),
                p=p,
                p_adjusted=p,
                n=len(usable),
                evidence="likeness",
                details={"effect_name": "share of other units less alike, above one half"},
            )
        )
    for g, name in enumerate(found.names):
        if numbers.verdict[g] not in ("representative", "beyond the data"):
            continue
        label = f" (detects {labels[g]})" if labels[g] else ""
        ratio = _ratio(numbers.after[g], numbers.largest[g])
        reach = f"to {ratio:.0%} of what the strongest real image does"
        if numbers.verdict[g] == "representative":
            claim = (
                f"The picture of {name}{label} is more like the real images that excite it than "
                f"like those of {main.above[g]:.0%} of the other units: it may be read as "
                f"something the unit responds to. It excites it {reach}."
            )
        else:
            claim = (
                f"The picture of {name}{label} excites it {reach}, yet was tested and not shown "
                "to resemble the images that do: it is no evidence of what the unit detects in "
                "the data."
            )
        result.append(
            Finding(
                claim=claim,
                class_=name if study.objective == "class" else None,
                effect=float(main.above[g] - 0.5),
                p=float(main.p[g]),
                p_adjusted=float(main.p_bh[g]),
                n=int(main.compared[g].sum()) + 1,
                evidence=f"unit-{found.objective.ids[g]}",
                details={
                    "effect_name": "share of other units less alike, above one half",
                    "unit": found.objective.ids[g],
                },
            )
        )
    return result

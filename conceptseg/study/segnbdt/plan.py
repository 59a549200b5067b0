"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.segnbdt import tables
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import Evidence
from conceptseg.study.segnbdt.grown import Plan
from conceptseg.study.segnbdt.judge import Judge, Judged
from conceptseg.study.segnbdt.survey import Survey
from conceptseg.study.segnbdt.tune import tuning_passes
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of the classes that hold most wrong pixels, one each.

    The image is the one in which most of the class's predicted pixels are wrong, or, for a class
    without errors, in which it is predicted most.
    """
    plan: Plan = carry["plan"]
    judged: Judged = carry["judged"]
    k = plan.tree.classes
    counts = tables.against_reference(judged, "network", k)
    predicted = counts.sum(1)
    wrong = predicted - np.einsum("ikk->ik", counts)
    order = sorted(range(k), key=lambda c: (-wrong[:, c].sum(), -predicted[:, c].sum(), c))
    chosen: list[tuple[str, int]] = []
    for c in order:
        if predicted[:, c].any() and len(chosen) < COMPARED:
            image = max(range(len(counts)), key=lambda i: (wrong[i, c], predicted[i, c], -i))
            chosen.append((judged.ids[image], c))
    return chosen


def passes(study: Segnbdt) -> Sequence[Pass]:
    return (
        Survey(study),
        *tuning_passes(study),
        Judge(study),
        Evidence(study),
        Compare(study.compare, to_compare, study.picture_px),
    )

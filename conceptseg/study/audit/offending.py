"""Which composites show a reliance: what a test set of it is made of."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.study.audit.case import CASES, REACTS, Case
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.pictures import order
from conceptseg.study.audit.swap import SWAPPED, rows_of

MOST = 100
"""Images of a verdict whose composites are listed."""
EACH = 2
"""Donors of either kind of each image."""
ARMS = {1: "placebo", -1: "treatment"}


@dataclass(frozen=True)
class Composite:
    """An image in a donor's surroundings, of a reliance that is shown.

    `case` numbers it, `change` is the image's own, `arm` says which kind of donor it is, and `iou`
    what the class had in it.
    """

    case: int
    image: str
    donor: str
    arm: str
    change: float
    iou: float


COMPOSITES: Key[tuple[Composite, ...]] = Key("composites", tuple)


def list_composites(study: Audit, context: Context, known: Known) -> Known:
    """Of each reliance that is shown the images that change by `REACTS` or more in its direction,
    the largest changes first, with those donors whose IoU is nearest to the mean of their kind.

    Of borders there are none: they are moved, and given nothing. The images are chosen for what
    they do, the donors are not: they do what mostly happens.
    """
    cases, found = known[CASES], list[Composite]()
    wanted = [one.name for one in known[CONTEXTS]]
    for number in order(cases):
        case = cases[number]
        if not case.shown or case.context.kind == "place":
            continue
        place, reacting = wanted.index(case.context.name), _reacting(case)
        rows = rows_of(known[SWAPPED], case.class_id, case.margin, [name for name, _ in reacting])
        for image, change in reacting:
            own = rows[image]
            for kind, arm in ARMS.items():
                at = np.flatnonzero(own["arm"][:, place] == kind)
                iou = own["scores"][at, 0]
                nearest = np.argsort(np.abs(iou - iou.mean()), kind="stable")[:EACH]
                found += [
                    Composite(number, image, str(own["donor"][at[i]]), arm, change, float(iou[i]))
                    for i in nearest.tolist()
                ]
    return COMPOSITES(tuple(found))


def _reacting(case: Case) -> list[tuple[str, float]]:
    """Images of a case and their changes, the largest first."""
    sign = np.sign(case.change.value)
    changes = [(name, change) for name, change in zip(case.ids, case.each, strict=True)]
    strong = [one for one in changes if sign * one[1] >= REACTS]
    return sorted(strong, key=lambda one: (-sign * one[1], one[0]))[:MOST]

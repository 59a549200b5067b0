"""Beyond the verdict, from the same passes: does a class appear where the context is, and does more
of the context do more?"""

from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.crossed import reaching
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.intervals import GAPS
from conceptseg.study.audit.case import CASES, Case
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.margins import MARGINS
from conceptseg.study.audit.match import MATCHED
from conceptseg.study.audit.survey import HOLDINGS, PLAN
from conceptseg.study.audit.swap import SWAPPED, rows_of
from conceptseg.study.shared.studied import sampling_of

PARTS = ("least", "middle", "most")
"""Thirds of the composites, by how much of the image the context takes in them."""


@dataclass(frozen=True)
class Dose:
    """What a context does where it takes `share` of the image, in the mean over a third of the
    composites: `effect` is the IoU in these less that without it, image by image."""

    case: int
    part: str
    share: float
    effect: Estimate


DOSES: Key[tuple[Dose, ...]] = Key("doses", tuple)


def measure_recruits(study: Audit, context: Context, known: Known) -> Known:
    """The cases, with what becomes of other classes: see :func:`recruited`."""
    return CASES(
        tuple(
            case
            if case.context.kind == "place"
            else replace(
                case,
                recruits=recruited(study, context, known, case),
                taken_for=taken_for(context, known, case),
            )
            for case in known[CASES]
        )
    )


def recruited(study: Audit, context: Context, known: Known, case: Case) -> Estimate | None:
    """The part of other classes' regions that is taken for the class in surroundings with the
    context, less that without it, over images that do not hold the class; None of none.

    The composites are those by which the other classes were tested on the same context.
    """
    held, plan = known[HOLDINGS], known[PLAN]
    q = [one.name for one in known[CONTEXTS]].index(case.context.name)
    free = {
        n for n, pixels in zip(held.ids, held.pixels[:, case.class_id], strict=True) if not pixels
    }
    parts: dict[str, list[tuple[float, float]]] = {}
    counts = [0, 0]
    for c, contexts in plan.contexts.items():
        if c == case.class_id or q not in contexts:
            continue
        others = [name for name in plan.recipients[c] if name in free]
        for name, own in rows_of(known[SWAPPED], c, known[MARGINS][c, q], others).items():
            kinds = [own["taken"][own["arm"][:, q] == kind, case.class_id] for kind in (1, -1)]
            if all(map(len, kinds)):
                mean = [float(kind.astype(np.float64).mean()) for kind in kinds]
                parts.setdefault(name, []).append((mean[0], mean[1]))
                counts = [count + len(kind) for count, kind in zip(counts, kinds, strict=True)]
    if not parts:
        return None
    ids, means = tuple(parts), np.array([np.mean(each, axis=0) for each in parts.values()])
    sampling = _sampling(study, context, known, ids, 52)
    there, lacking = means.mean(0).tolist()
    found = sampling.mean(means[:, 0] - means[:, 1], within=GAPS)
    return reaching(found, (there, lacking), (counts[0], counts[1]), 0.0, 1.0)


def taken_for(context: Context, known: Known, case: Case) -> str:
    """The class that the region is mostly taken for, besides its own, in the surroundings that are
    the worse ones; empty where none takes a tenth."""
    q = [one.name for one in known[CONTEXTS]].index(case.context.name)
    worse = -1 if case.change.value > 0 else 1
    rows = rows_of(known[SWAPPED], case.class_id, case.margin, case.ids)
    taken = [
        own["taken"][own["arm"][:, q] == worse].astype(np.float64).mean(0) for own in rows.values()
    ]
    mean = np.mean(taken, axis=0)
    mean[case.class_id] = 0.0
    most = int(mean.argmax())
    return context.model.classes[most] if mean[most] >= 0.1 else ""


def measure_doses(study: Audit, context: Context, known: Known) -> Known:
    """Each effect that is shown, by how much of the context there is, where its place is known."""
    found = list[Dose]()
    for number, case in enumerate(known[CASES]):
        if case.shown and case.context.located:
            found += doses(study, context, known, number)
    return DOSES(tuple(found))


def doses(study: Audit, context: Context, known: Known, number: int) -> list[Dose]:
    """The thirds of a case's composites; none where all hold equally much."""
    case = known[CASES][number]
    q = [one.name for one in known[CONTEXTS]].index(case.context.name)
    rows = rows_of(known[SWAPPED], case.class_id, case.margin, case.ids)
    share, iou, base = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for name, own in rows.items():
        matched = known[MATCHED].tables[name]
        here = (matched["class"] == case.class_id) & (matched["margin"] == case.margin)
        arm = matched["arm"][here, q]
        share.append(matched["dose"][here, q][arm > 0])
        iou.append(own["scores"][1:, 0][arm > 0])
        base.append(own["scores"][1:, 0][arm < 0])
    ends = np.quantile(np.concatenate(share), [0, 1 / 3, 2 / 3, 1])
    if not (np.diff(ends) > 0).all():
        return []
    found = []
    for part, low, high in zip(PARTS, ends, ends[1:], strict=False):
        inside = [(one >= low) & ((one < high) | (high == ends[-1])) for one in share]
        able = [i for i, one in enumerate(inside) if one.any()]
        there, lacking = [iou[i][inside[i]] for i in able], [base[i] for i in able]
        means = np.array([[one.mean() for one in kind] for kind in (there, lacking)])
        ids = tuple(case.ids[i] for i in able)
        mean = float(np.concatenate([share[i][inside[i]] for i in able]).mean())
        effect = reaching(
            _sampling(study, context, known, ids, 54).mean(means[0] - means[1], within=GAPS),
            (float(means[0].mean()), float(means[1].mean())),
            (sum(map(len, there)), sum(map(len, lacking))),
            0.0,
            1.0,
        )
        found.append(Dose(number, part, mean, effect))
    return found


def _sampling(
    study: Audit, context: Context, known: Known, ids: tuple[str, ...], salt: int
) -> Sampling:
    return sampling_of(context, ids, study.unit, (context.seed, salt))

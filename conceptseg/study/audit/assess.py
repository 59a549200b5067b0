"""What the swaps and the masks say of each class and context, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.stats.crossed import Crossed, donors_needed
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, by_holm, few, given, judge
from conceptseg.stats.intervals import FEWEST, finite_mean
from conceptseg.study.audit.borders import placed
from conceptseg.study.audit.case import CASES, REACTS, Case, Measured
from conceptseg.study.audit.company import Company, company
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.kept import SCORES
from conceptseg.study.audit.look import LOOKED
from conceptseg.study.audit.margins import MARGINS
from conceptseg.study.audit.match import MATCHED, serves
from conceptseg.study.audit.survey import HOLDINGS, PLAN, arms
from conceptseg.study.audit.swap import SWAPPED, rows_of
from conceptseg.study.shared.studied import sampling_of


@dataclass(frozen=True)
class Looked:
    """Of one class: what it loses alone, its radius, and what relevance says by context's place."""

    alone: Estimate | None = None
    radius: float = float("nan")
    on: dict[int, Estimate] = field(default_factory=dict)


def assess(study: Audit, context: Context, known: Known) -> Known:
    """All classes and contexts, judged as one family."""
    measured = [
        _swapped(study, context, known, class_id, q)
        for class_id, contexts in known[PLAN].contexts.items()
        for q in contexts
    ]
    measured += placed(study, context, known)
    if not measured:
        raise InputError(
            f"{context.manifest.where}: no class has {study.min_images} images in which there is "
            "room to move it to a border and away; give more images, or lower min_images"
        )
    looked = _looked(study, context, known)
    return CASES(cases_of(study, known[CONTEXTS], measured, looked, context.seed))


def cases_of(
    study: Audit,
    contexts: Sequence[ContextType],
    measured: Sequence[Measured],
    looked: Mapping[int, Looked],
    seed: int,
) -> tuple[Case, ...]:
    """What was measured with all that decides the verdicts, tested as one family."""
    needs = f"{donors_needed()} donors of each kind"
    p, floors = ([getattr(one, name) for one in measured] for name in ("p_donors", "p_least"))
    tests = judge(
        [Question(one.changes, one.sampling) for one in measured],
        side="two",
        seed=seed,
        policy=few(by_holm),
        also=[given(p, floors, n=study.donors, of="donors", needs=needs)],
    )
    return tuple(
        replace(_case(study, one, test, looked.get(one.class_id, Looked()), contexts), pairs=len(p))
        for one, test in zip(measured, tests, strict=True)
    )


def _case(
    study: Audit, one: Measured, test: Test, looked: Looked, contexts: Sequence[ContextType]
) -> Case:
    names = [each.name for each in contexts]
    place = names.index(one.context.name) if one.context.name in names else -1
    return Case(
        one.class_id,
        one.class_name,
        one.context,
        one.change,
        test,
        study.delta,
        one.there,
        one.lacking,
        one.before,
        looked.on.get(place),
        # Seen alone, a class lies where it lay: that says nothing of its place.
        looked.alone if place >= 0 else None,
        looked.radius,
        study.smallest_loss,
        study.smallest_share,
        float((np.abs(one.changes) >= REACTS).mean()),
        one.ids,
        tuple(one.changes.tolist()),
        one.donors,
        one.own,
        one.hiding,
        one.filled,
        one.margin,
        one.mechanisms,
        company=one.company,
    )


def _swapped(
    study: Audit,
    context: Context,
    known: Known,
    class_id: int,
    place: int,
) -> Measured:
    """Images crossed with donors."""
    margin = known[MARGINS][class_id, place]
    rows = rows_of(known[SWAPPED], class_id, margin, known[PLAN].recipients[class_id])
    able = {name: own for name, own in rows.items() if serves(own, class_id, place)}
    used = {n for own in able.values() for n in own["donor"][own["arm"][:, place] != 0].tolist()}
    donors, held = sorted(used), known[HOLDINGS]
    at = {name: column for column, name in enumerate(donors)}
    scores = np.full((len(SCORES), len(able), len(donors)), np.nan)
    first = np.zeros(len(donors), bool)
    for i, own in enumerate(able.values()):
        for row in np.flatnonzero(own["arm"][:, place]).tolist():
            column = at[str(own["donor"][row])]
            scores[:, i, column] = own["scores"][row]
            first[column] = own["arm"][row, place] > 0
    group = dict(zip(held.ids, held.groups, strict=True))
    ids = tuple(able)
    sampling = Sampling.counting(ids, [group[name] for name in ids], study.unit, (context.seed, 47))
    crossed = Crossed(scores[0], sampling, tuple(group[name] for name in donors), first)
    before = np.array([own["scores"][0, 0] for own in able.values()])
    hidden = np.array([own["hidden"][0] for own in able.values()])
    name = context.model.classes[class_id]
    at_rows = [held.ids.index(one) for one in ids]
    there, lacking = (kind[at_rows] for kind in arms(study, held, place, known[CONTEXTS][place]))
    filled = 0.0
    if there.any() and known[CONTEXTS][place].located:
        tables = known[MATCHED].tables
        parts = [tables[one]["filled"][tables[one]["of"] == class_id, place] for one in ids]
        filled = float(np.concatenate(parts)[there].mean())
    start, hiding = own_ones(before, hidden, there, lacking, sampling)
    places = np.array([held.ids.index(one) for one in donors])
    beside = company(study, held, known[CONTEXTS], place, places, first)
    return crossed_with(
        class_id,
        name,
        known[CONTEXTS][place],
        ids,
        crossed,
        scores,
        float(before.mean()),
        context.seed,
        own=start,
        hiding=hiding,
        filled=filled,
        margin=margin,
        beside=beside,
    )


def own_ones(
    before: np.ndarray,
    hidden: np.ndarray,
    there: np.ndarray,
    lacking: np.ndarray,
    sampling: Sampling,
) -> tuple[Estimate | None, Estimate | None]:
    """Of images [n] that hold a context less those that lack it: the IoU of a class as they are,
    and what it loses when their surroundings are hidden. None where either are few."""
    if min(int(there.sum()), int(lacking.sum())) < FEWEST:
        return None, None
    told = there | lacking
    at, holds = sampling.at(told), there[told]
    return (
        at.difference(before[told], holds, 0.0, 1.0),
        at.difference((before - hidden)[told], holds, -1.0, 1.0),
    )


def crossed_with(
    class_id: int,
    name: str,
    context: ContextType,
    ids: tuple[str, ...],
    crossed: Crossed,
    scores: np.ndarray,
    before: float,
    seed: int,
    *,
    own: Estimate | None = None,
    hiding: Estimate | None = None,
    filled: float = 0.0,
    margin: float = 0.0,
    beside: Company = Company(),  # noqa: B008 - frozen
) -> Measured:
    """What images crossed with donors say of a class and a context; `scores` [4, n, m] are all
    `SCORES`, of which `crossed` holds the first."""
    p, least = crossed.donors_p(seed)
    there, lacking = (
        tuple(finite_mean(finite_mean(scores[:, :, kind], 2), 1).tolist())
        for kind in (crossed.first, ~crossed.first)
    )
    return Measured(
        class_id,
        name,
        context,
        ids,
        crossed.differences,
        crossed.sampling,
        crossed.bounded(0.0, 1.0),
        there,
        lacking,
        before,
        p,
        least,
        crossed.donors,
        own,
        hiding,
        filled,
        margin,
        company=beside,
    )


def _looked(study: Audit, context: Context, known: Known) -> dict[int, Looked]:
    """What the supporting lines say of each class."""
    table, found = known[LOOKED], {}
    if not table.ids:
        return {}
    classes, names = table.column("class"), [table.ids[i] for i in table.owner("class")]
    whole = sampling_of(context, names, study.unit, (context.seed, 48))

    def rows_of_class(c: int, values: np.ndarray) -> np.ndarray:
        return np.flatnonzero((classes == c) & np.isfinite(values))

    alone, radius, on = (table.column(name) for name in ("alone", "radius", "on"))
    for c in known[PLAN].contexts:
        rows, shares = rows_of_class(c, alone), dict[int, Estimate]()
        for q in range(on.shape[1]):
            if len(own := rows_of_class(c, on[:, q])):
                shares[q] = whole.at(own).mean(on[own, q])
        far = radius[(classes == c) & ~np.isnan(radius)]
        found[c] = Looked(
            whole.at(rows).bounded(alone[rows], 0.0, 1.0) if len(rows) else None,
            float(np.median(far)) if len(far) else float("nan"),
            shares,
        )
    return found

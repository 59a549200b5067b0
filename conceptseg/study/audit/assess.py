"""What the swaps and the masks say of each class and context, and the verdict."""

from dataclasses import dataclass, field

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.stats.crossed import Crossed, donors_needed
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, by_holm, few, given, judge
from conceptseg.stats.intervals import FEWEST, finite_mean
from conceptseg.study.audit.case import CASES, REACTS, Case
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.kept import SCORES
from conceptseg.study.audit.look import LOOKED
from conceptseg.study.audit.margins import MARGINS
from conceptseg.study.audit.match import MATCHED, serves
from conceptseg.study.audit.survey import HOLDINGS, PLAN, arms
from conceptseg.study.audit.swap import SWAPPED, rows_of


@dataclass(frozen=True)
class _Looked:
    """Of one class: what it loses alone, its radius, and what relevance says by context's place."""

    alone: Estimate | None = None
    radius: float = float("nan")
    on: dict[int, Estimate] = field(default_factory=dict)


def assess(study: Audit, context: Context, known: Known) -> Known:
    """All classes and contexts, judged as one family."""
    plan, asked = known[PLAN], []
    for class_id, contexts in plan.contexts.items():
        asked += [_asked(study, context, known, class_id, q) for q in contexts]
    by_donors = [one.crossed.donors_p(context.seed) for one in asked]
    p, floors = np.array(by_donors).T
    smallest = donors_needed()
    family = given(p, floors, n=study.donors, of="donors", needs=f"{smallest} donors of each kind")
    tests = judge(
        [Question(one.crossed.differences, one.crossed.sampling) for one in asked],
        side="two",
        seed=context.seed,
        policy=few(by_holm),
        also=[family],
    )
    looked = _looked(study, context, known)
    return CASES(
        tuple(
            one.case(study, known, test, looked.get(one.class_id, _Looked()))
            for one, test in zip(asked, tests, strict=True)
        )
    )


@dataclass(frozen=True)
class _Asked:
    """A class and a context, of images crossed with donors: `crossed` holds IoUs, `scores`
    [4, n, m] all."""

    class_id: int
    class_name: str
    place: int
    ids: tuple[str, ...]
    crossed: Crossed
    scores: np.ndarray
    before: float
    own: Estimate | None
    filled: float
    margin: float

    def case(
        self,
        study: Audit,
        known: Known,
        test: Test,
        looked: _Looked,
    ) -> Case:
        changes = self.crossed.differences
        first = self.crossed.first
        there, lacking = (
            tuple(finite_mean(finite_mean(self.scores[:, :, kind], 2), 1).tolist())
            for kind in (first, ~first)
        )
        return Case(
            self.class_id,
            self.class_name,
            known[CONTEXTS][self.place],
            self.crossed.bounded(0.0, 1.0),
            test,
            study.delta,
            there,
            lacking,
            self.before,
            looked.on.get(self.place),
            looked.alone,
            looked.radius,
            study.smallest_loss,
            study.smallest_share,
            float((np.abs(changes) >= REACTS).mean()),
            self.ids,
            tuple(changes.tolist()),
            self.crossed.donors,
            self.own,
            self.filled,
            self.margin,
        )


def _asked(
    study: Audit,
    context: Context,
    known: Known,
    class_id: int,
    place: int,
) -> _Asked:
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
    name = context.model.classes[class_id]
    at_rows = [held.ids.index(one) for one in ids]
    there, lacking = (kind[at_rows] for kind in arms(study, held, place, known[CONTEXTS][place]))
    told, filled = there | lacking, 0.0
    if there.any() and known[CONTEXTS][place].located:
        tables = known[MATCHED].tables
        parts = [tables[one]["filled"][tables[one]["of"] == class_id, place] for one in ids]
        filled = float(np.concatenate(parts)[there].mean())
    several = min(int(there.sum()), int(lacking.sum())) >= FEWEST
    start = sampling.at(told).difference(before[told], there[told]) if several else None
    mean = float(before.mean())
    return _Asked(class_id, name, place, ids, crossed, scores, mean, start, filled, margin)


def _looked(study: Audit, context: Context, known: Known) -> dict[int, _Looked]:
    """What the supporting lines say of each class."""
    table, found = known[LOOKED], {}
    if not table.ids:
        return {}
    classes, names = table.column("class"), [table.ids[i] for i in table.owner("class")]
    groups = [context.manifest.sample(name).group for name in names]
    whole = Sampling.counting(names, groups, study.unit, (context.seed, 48))

    def rows_of_class(c: int, values: np.ndarray) -> np.ndarray:
        return np.flatnonzero((classes == c) & np.isfinite(values))

    alone, radius, on = (table.column(name) for name in ("alone", "radius", "on"))
    for c in known[PLAN].contexts:
        rows, shares = rows_of_class(c, alone), dict[int, Estimate]()
        for q in range(on.shape[1]):
            if len(own := rows_of_class(c, on[:, q])):
                shares[q] = whole.at(own).mean(on[own, q])
        far = radius[(classes == c) & ~np.isnan(radius)]
        found[c] = _Looked(
            whole.at(rows).bounded(alone[rows], 0.0, 1.0) if len(rows) else None,
            float(np.median(far)) if len(far) else float("nan"),
            shares,
        )
    return found

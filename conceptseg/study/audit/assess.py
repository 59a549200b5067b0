"""What the swaps and the masks say of each class and context, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.crossed import Crossed, donors_needed
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, by_holm, few, given, judge
from conceptseg.stats.intervals import FEWEST, finite_mean, unseen_share
from conceptseg.study.audit.config import Audit, Verdict
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.kept import SCORES
from conceptseg.study.audit.look import LOOKED
from conceptseg.study.audit.margins import FILLED, MARGINS
from conceptseg.study.audit.match import MATCHED, serves
from conceptseg.study.audit.survey import HOLDINGS, PLAN, arms
from conceptseg.study.audit.swap import SWAPPED, rows_of

REACTS = 0.1
"""Change of IoU from which an image counts as one that reacts, and a swap as one that costs."""
HARDLY = 0.1
"""IoU in any surroundings below which a class is hardly found: it has nothing to lose."""
MOST_NEEDED = 5_000
"""Images that an underpowered verdict asks for at most."""


@dataclass(frozen=True)
class Case:
    """A class and a context with all that decides the verdict.

    `change` is the IoU with placebo donors less that with treated ones; `there` and `lacking` the
    two, as means over images, each with the shares of the region that are found, flipped and missed
    (`SCORES`); `before` the IoU of the images as they are. `alone` is the probability that the
    region loses when it is seen alone, `radius` the median of the pixels around it that it has to
    see, `looks` the share of relevance on a located context beyond that of shuffled weights.
    `reacting` is the share of images that change by `REACTS` or more. `ids` are the images, `each`
    their changes, `donors` how many groups of them hold the context and lack it. `own` is the IoU
    of images as they are that hold the context themselves less that of those that lack it, None
    where either are few; `filled` the part of the `margin`, in pixels, that it takes in those that
    hold it.
    """

    class_id: int
    class_name: str
    context: ContextType
    change: Estimate
    test: Test
    delta: float
    there: tuple[float, ...]
    lacking: tuple[float, ...]
    before: float
    looks: Estimate | None
    alone: Estimate | None
    radius: float
    smallest_loss: float
    smallest_share: float
    reacting: float
    ids: tuple[str, ...]
    each: tuple[float, ...]
    donors: tuple[int, int]
    own: Estimate | None = None
    filled: float = 0.0
    margin: float = 0.0

    @property
    def shown(self) -> bool:
        """Whether an effect beyond delta is shown."""
        beyond = self.change.above(self.delta) or self.change.below(-self.delta)
        return self.test.passed and beyond

    @property
    def absent(self) -> bool:
        """Whether the effect is shown to be less than delta, of a class that has more to lose, and
        of a context that the margin does not keep."""
        return self.change.within(self.delta) and not (self.hardly or self.kept)

    @property
    def kept(self) -> bool:
        """Whether the context may act from within the margin, where no swap reaches: it fills that,
        or images that hold it are predicted otherwise from the start."""
        return self.filled >= FILLED or self.unexplained

    @property
    def unexplained(self) -> bool:
        """Whether images that hold the context differ from those that lack it by `REACTS` or more,
        with all of the interval beyond delta."""
        own = self.own
        if own is None or not abs(own.value) >= REACTS:
            return False
        return own.above(self.delta) or own.below(-self.delta)

    @property
    def hardly(self) -> bool:
        """Whether the class is hardly found in any other surroundings, be the context there or not:
        then nothing that is swapped can change it."""
        return max(self.there[0], self.lacking[0]) < HARDLY

    @property
    def cost(self) -> float:
        """What any swap costs the class, whatever the context: its IoU as it is, less the mean of
        both kinds of surroundings; what it owes to its own surroundings, and to being cut out."""
        return self.before - (self.there[0] + self.lacking[0]) / 2

    @property
    def seen(self) -> bool:
        """Whether the class needs its surroundings to be seen."""
        return self.alone is not None and self.alone.above(self.smallest_loss)

    @property
    def attributed(self) -> bool:
        """Whether relevance lies on the context, clearly more than of a network that learnt
        nothing."""
        return self.looks is not None and self.looks.above(self.smallest_share)

    @property
    def supported(self) -> bool:
        """Whether another line agrees with the swap. A class that needs a context's absence has to
        see that it is not there, so seen alone it loses, too."""
        return self.seen or self.attributed

    @property
    def verdict(self) -> Verdict:
        if self.shown:
            return "confirmed" if self.supported else "behaviour only"
        if not self.absent:
            return "underpowered"
        return "attribution only" if self.attributed else "no reliance shown"

    @property
    def detectable(self) -> float:
        """The change beyond delta that would have been shown in four of five such data sets; nan
        where it is more than there is to lose or to win."""
        room = max(self.before, 1 - self.before)
        return self.test.capped(room - self.delta).detectable + self.delta

    @property
    def needed(self) -> int | None:
        """About how many images of the class would decide an underpowered verdict; None where the
        change lies so near to delta that none would, or the verdict stands."""
        if self.verdict != "underpowered" or self.change.ci is None or self.hardly or self.kept:
            return None
        half = (self.change.high - self.change.low) / 2
        apart = abs(abs(self.change.value) - self.delta)
        if apart <= 0:
            return None
        images = int(np.ceil(len(self.ids) * (half / apart) ** 2))
        return max(images, len(self.ids) + 1) if images <= MOST_NEEDED else None

    @property
    def unseen(self) -> float:
        """The share of images that may react although none of so many did."""
        return unseen_share(self.change.n)


CASES: Key[tuple[Case, ...]] = Key("cases", tuple)


@dataclass(frozen=True)
class Looked:
    """Of one class: what it loses alone, its radius, and what relevance says by context's place."""

    alone: Estimate | None = None
    radius: float = float("nan")
    on: dict[int, Estimate] = field(default_factory=dict)


def assess(study: Audit, context: Context, known: Known) -> Known:
    """All classes and contexts, judged as one family."""
    plan, asked = known[PLAN], []
    for class_id, contexts in plan.contexts.items():
        asked += [_asked(study, context, known, class_id, q) for q in contexts]
    looked = _looked(study, context, known)
    return CASES(cases_of(study, known[CONTEXTS], asked, looked, context.seed))


def cases_of(
    study: Audit,
    contexts: Sequence[ContextType],
    asked: Sequence["Asked"],
    looked: Mapping[int, Looked],
    seed: int,
) -> tuple[Case, ...]:
    """What is asked with all that decides the verdicts, tested as one family."""
    by_donors = [one.crossed.donors_p(seed) for one in asked]
    p, floors = np.array(by_donors).T
    smallest = donors_needed()
    family = given(p, floors, n=study.donors, of="donors", needs=f"{smallest} donors of each kind")
    tests = judge(
        [Question(one.crossed.differences, one.crossed.sampling) for one in asked],
        side="two",
        seed=seed,
        policy=few(by_holm),
        also=[family],
    )
    return tuple(
        one.case(study, contexts[one.place], test, looked.get(one.class_id, Looked()))
        for one, test in zip(asked, tests, strict=True)
    )


@dataclass(frozen=True)
class Asked:
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
        context: ContextType,
        test: Test,
        looked: Looked,
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
            context,
            self.crossed.estimate(),
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
) -> Asked:
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
    return Asked(class_id, name, place, ids, crossed, scores, mean, start, filled, margin)


def _looked(study: Audit, context: Context, known: Known) -> dict[int, Looked]:
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
        found[c] = Looked(
            whole.at(rows).bounded(alone[rows], 0.0, 1.0) if len(rows) else None,
            float(np.median(far)) if len(far) else float("nan"),
            shares,
        )
    return found

"""Which donors an image gets: chosen from masks and brightness, before anything is predicted.

It never depends on a prediction. Placebo donors are, of those that come first by the seed, those
that are most like the image in brightness and contrast, whose own things are fewest, and whose
context stays in sight. Each has a twin among the donors that lack the context, which is like it in
all these: donors whose context lies clear of the region have their own things under it more often,
and that must not pass for the context.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.audit.margins import MARGINS, margins_of
from conceptseg.study.audit.survey import HOLDINGS, LEAST, PLAN, Holdings, arms, coarse, told
from conceptseg.study.shared.sweep import One, Sweep

TRIED = 4
"""Of so many times as many donors as are needed, the fittest are taken."""
IN_SIGHT = 0.8
"""Part of a donor's context that should stay visible; less costs `HIDDEN` for each missing part."""
HIDDEN = 3.0
MATCHED = Key("matched", SampleTable)


@dataclass(frozen=True)
class Match(Sweep):
    """The donors of each image and class.

    `class` [r], the `margin` [r] with which they are used, `donor` [r] by place among the holdings,
    and `arm` [r, q]: 1 where a donor holds a context and is used for it, -1 where it lacks it and
    is, else 0; `dose` [r, q], the share of the image that each context takes in it, beyond the
    margin. And of each class, `of` [k], the part of the margin that each context takes in the
    image itself, `filled` [k, q], in cells: it stays, whatever is swapped.
    """

    study: Audit

    name = "match"
    cost = "no pass of the network"
    labels = "required"
    rows = MATCHED

    def forwards(self, context: Context) -> float:
        return 0.0

    def wanted(self, known: Known) -> Collection[str]:
        return known[PLAN].images

    def look(self, context: Context, one: One, known: Known) -> Tables:
        assert one.labels is not None
        classes, margins = list[int](), list[float]()
        donors, arm, dose = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        held, of = known[HOLDINGS], known[PLAN].classes_of(one.id)
        own = np.array([held.ids.index(one.id)])
        lies = [held.lies(own, q)[0] for q in range(held.share.shape[1])]
        filled = np.zeros((len(of), len(lies)), np.float32)
        for k, c in enumerate(of):
            for margin in margins_of(known, c):
                kept = Kept.of(one.labels, c, margin, self.study.feather_px)
                wanted = [q for q in known[PLAN].contexts[c] if known[MARGINS][c, q] == margin]
                rows, used = choose_donors(self.study, context, known, one.id, kept, wanted)
                classes += [c] * len(rows)
                margins += [margin] * len(rows)
                donors.append(rows)
                arm.append(used)
                dose.append(_doses(held, rows, coarse(kept.zone.cpu().numpy())))
                around = coarse((kept.zone & ~kept.region).cpu().numpy())
                around &= ~coarse(kept.region.cpu().numpy())
                for q in wanted:
                    filled[k, q] = (lies[q] & around).sum() / max(int(around.sum()), 1)
        return {
            "class": np.array(classes, np.int64),
            "margin": np.array(margins, np.float64),
            "donor": np.concatenate(donors),
            "arm": np.concatenate(arm),
            "dose": np.concatenate(dose),
            "of": np.array(of, np.int64),
            "filled": filled,
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return MATCHED(table)


def settle(study: Audit, context: Context, known: Known) -> Known:
    """The plan without what has too few images that found donors of both kinds.

    Raises InputError where nothing is left, before the network has been run.
    """
    plan, tables, wanted = known[PLAN], known[MATCHED].tables, known[CONTEXTS]
    contexts: dict[int, tuple[int, ...]] = {}
    recipients: dict[int, tuple[str, ...]] = {}
    why = []
    for c, ids in plan.recipients.items():
        served = {q: tuple(n for n in ids if serves(tables[n], c, q)) for q in plan.contexts[c]}
        enough = tuple(q for q, names in served.items() if len(names) >= study.min_images)
        for q in served.keys() - set(enough):
            reason = (
                f"{len(served[q])} images of {context.model.classes[c]} found {LEAST} donors of "
                f"either kind, of other groups and in sight; min_images is {study.min_images}"
            )
            why.append({"kind": "context", "context": wanted[q].name, "reason": reason})
        if enough:
            contexts[c] = enough
            recipients[c] = tuple(n for n in ids if any(n in served[q] for q in enough))
    if not contexts and not study.place:
        raise InputError(
            f"{context.manifest.where}: no class can be tested on any context ({told(why)}); give "
            "more images, or lower margin, min_visible or min_images"
        )
    return PLAN(replace(plan, recipients=recipients, contexts=contexts)) | left_out("match")(
        tuple(why)
    )


def serves(own: Tables, class_id: int, context: int) -> bool:
    """Whether an image found enough donors of both kinds for a class and a context."""
    arm = own["arm"][own["class"] == class_id, context]
    return all(int((arm == kind).sum()) >= LEAST for kind in (1, -1))


def choose_donors(
    study: Audit, context: Context, known: Known, image: str, kept: Kept, wanted: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The donors of an image for the contexts at some places: places [m], and `arm` [m, q]."""
    held, empty = known[HOLDINGS], background(context)
    own = held.ids.index(image)
    key = sample_priority(context.seed, f"{image}:{kept.class_id}")
    order = np.random.default_rng(key % 2**63).permutation(len(held.ids))
    others = np.array(held.groups, np.str_) != held.groups[own]
    order = order[others[order]]
    zone, most = coarse(kept.zone.cpu().numpy()), TRIED * study.donors
    arm = np.zeros((len(held.ids), held.share.shape[1]), np.int8)
    for q in wanted:
        one = known[CONTEXTS][q]
        there, lacking = (order[able[order]] for able in arms(study, held, q, one))
        hidden = np.zeros(len(there))
        if one.located:
            seen = in_sight(held.lies(there, q), zone)
            there, seen = there[seen >= study.min_visible], seen[seen >= study.min_visible]
            hidden = np.maximum(0.0, IN_SIGHT - seen)
        there, lacking, hidden = there[:most], lacking[:most], hidden[:most]
        traits = [
            _traits(held, own, rows, zone, kept.class_id, one.class_id, empty)
            for rows in (there, lacking)
        ]
        cost = traits[0].sum(1) + HIDDEN * hidden
        best = np.argsort(cost, kind="stable")[: study.donors]
        arm[there[best], q] = 1
        arm[lacking[_twins(traits[0][best], traits[1])], q] = -1
    rows = np.flatnonzero(arm.any(1))
    return rows, arm[rows]


def _traits(
    held: Holdings,
    own: int,
    rows: np.ndarray,
    zone: np.ndarray,
    class_id: int,
    tested: int,
    empty: int | None,
) -> np.ndarray:
    """In what donors may differ beside the context, [m, 4]: by how far mean and spread of their
    pixels are off the image's, and the parts of the zone, where they are cut, and of the rest that
    their things take: pixels of the class, and where there is a background of all others but the
    context."""
    ground = held.ground[rows]
    things = ground == class_id
    if empty is not None:
        things |= (ground >= 0) & (ground != empty) & (ground != tested)
    under = (things & zone).sum((1, 2)) / max(int(zone.sum()), 1)
    beside = (things & ~zone).sum((1, 2)) / max(int((~zone).sum()), 1)
    return np.concatenate(
        [np.abs(held.tone[rows] - held.tone[own]), under[:, None], beside[:, None]], 1
    )


def _twins(traits: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each donor with traits [m, f] the most like one of others [l, f], each given once: the
    kinds are to differ in the context alone."""
    far = np.abs(traits[:, None] - among[None]).sum(2)
    taken: list[int] = []
    for row in far:
        row[taken] = np.inf
        if np.isfinite(row).any():
            taken.append(int(row.argmin()))
    return np.array(taken, np.int64)


def _doses(held: Holdings, rows: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """The share of each image [m] that each context [q] takes beyond a zone of cells."""
    every = [
        np.nan_to_num(held.share[rows, q]) * in_sight(held.lies(rows, q), zone)
        for q in range(held.share.shape[1])
    ]
    return np.stack(every, 1).astype(np.float32)


def in_sight(lies: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """The part of a context's cells [m, y, x] that a zone of cells [y, x] leaves in sight, [m]."""
    cells = lies.sum((1, 2))
    return np.asarray((lies & ~zone).sum((1, 2)) / np.maximum(cells, 1), np.float32)

"""What each atom is worth: erasures beyond random directions, Sobol indices, names and tags."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.erase import ERASED
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.sobol import INDICES, RANKED
from conceptseg.study.dictionary.survey import SURVEY, together
from conceptseg.study.shared.atoms import Name, names, tags
from conceptseg.study.shared.edits import Change, beyond_random
from conceptseg.study.shared.studied import sampling_of
from conceptseg.study.shared.verdicts import Verdict, verdict


@dataclass(frozen=True)
class Loss:
    """What erasing an atom does to a class: `change` of its IoU, from `clean`, over its images;
    `random` that of random directions, of which one more costs as much with chance `p_random`;
    `used` as a verdict of all tests."""

    atom: int
    class_id: int
    images: int
    clean: float
    change: Estimate
    random: float
    p_random: float
    test: Test
    used: bool
    verdict: Verdict


@dataclass(frozen=True)
class Atom:
    """An atom: its name and tag (relative to the class `of` that it costs most), mean code,
    stability, and total Sobol index, None where it was not estimated."""

    number: int
    name: Name
    tag: str
    density: float
    of: int
    mean: float
    stability: float
    sobol: Estimate | None


TINY = 1e-12
"""Variance of a mean log-probability that is rounding alone."""

LOSSES: Key[tuple[Loss, ...]] = Key("losses", tuple)
ATOMS: Key[tuple[Atom, ...]] = Key("atoms", tuple)


def judge_losses(study: Dictionary, context: Context, known: Known) -> Known:
    """All atoms and classes as one family; and the atoms that cost most."""
    table, learnt = known[ERASED], known[LEARNT]
    iou = table.column("iou").astype(np.float64)
    own, q = sampling_of(context, table.ids, study.unit, context.seed), learnt.count
    wanted = study.class_ids(context)
    held = [c for c in wanted if np.isfinite(iou[:, 0, c]).sum() >= 2]
    cells = [(atom, c) for c in held for atom in range(q)]
    clean, edited, random = iou[:, 0], iou[:, 1 : 1 + q], iou[:, 1 + q :]
    changes = [
        Change(
            edited[:, atom, c] - clean[:, c],
            random[:, :, c] - clean[:, c, None],
            clean[:, c],
            own,
        )
        for atom, c in cells
    ]
    smallest, made = study.smallest_effect, list[Loss]()
    tests = beyond_random(changes, seed=study.seed, gains=False, smallest=smallest)
    for (atom, c), change, test in zip(cells, changes, tests, strict=True):
        lost = change.estimate
        used = change.shown(test, smallest) and change.rare
        told = verdict(test, change.to_lose, used=used)
        by_chance = float(change.random.mean()) if change.random.size else float("nan")
        chance = by_chance, change.p_random
        n = len(change.edited)
        made.append(Loss(atom, c, n, change.to_lose, lost, *chance, test, used, told))
    cost = np.zeros(q)
    for loss in made:
        cost[loss.atom] = max(cost[loss.atom], -loss.change.value)
    order = np.argsort(-cost, kind="stable")[: study.sobol_atoms]
    return LOSSES(tuple(made)) | RANKED(tuple(int(a) for a in order))


def describe(study: Dictionary, context: Context, known: Known) -> Known:
    """Names, tags, and Sobol indices of the atoms."""
    learnt, table = known[LEARNT], known[SURVEY]
    most = _most_costly(known, learnt.count)
    # One image after the other: together they may be large.
    mass = sum(one["mass"][0].astype(np.float64) for one in table.tables.values())
    area = sum(one["area"][0].astype(np.float64) for one in table.tables.values())
    placed = tags(np.asarray(mass), np.asarray(area), most)
    called = names(together(known), context.model.classes, learnt.count)
    mean = table.column("mean").astype(np.float64).mean(0)
    index = _indices(study, context, known)
    return ATOMS(
        tuple(
            Atom(
                atom,
                called[atom],
                *placed[atom],
                int(most[atom]),
                float(mean[atom]),
                float(learnt.stability[atom]),
                index.get(atom),
            )
            for atom in range(learnt.count)
        )
    )


def _most_costly(known: Known, count: int) -> np.ndarray:
    """The class that each atom's erasure costs most, [q]; the first class where none was held."""
    cost = {(one.atom, one.class_id): one.change.value for one in known[LOSSES]}
    classes = sorted({c for _, c in cost}) or [0]
    return np.array([min(classes, key=lambda c: cost.get((a, c), 0.0)) for a in range(count)])


def _indices(study: Dictionary, context: Context, known: Known) -> dict[int, Estimate]:
    """Total Sobol indices of each image, averaged over those whose score varies at all.

    An index lies between 0 and 1; that the estimate of an image may lie beyond is its error.
    """
    if not known[RANKED] or INDICES not in known or not known[INDICES].ids:
        return {}
    table = known[INDICES]
    own = sampling_of(context, table.ids, study.unit, context.seed)
    parts, whole = table.column("part"), table.column("whole")
    # By images, not by sums of variances: the score of one image may vary as that of all others.
    each = parts / np.where(whole > TINY, whole, np.nan)[:, None]
    return {atom: own.pointed(each[:, i], 0, 1) for i, atom in enumerate(known[RANKED])}

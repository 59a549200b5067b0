"""The classes' prototypes and criticisms, the neighbours of each object, and what they foretell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.intervals import Floats
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.examples import foretell
from conceptseg.study.examples.config import BLOCKS, Examples
from conceptseg.study.examples.critic import (
    Likeness,
    by_chance,
    criticisms,
    left,
    prototypes,
    witness,
)
from conceptseg.study.examples.objects import OBJECTS
from conceptseg.study.shared.outcomes import Outcomes, wrong_otherwise, wrongness
from conceptseg.study.shared.studied import sampling_of

FEWEST_WRONG = 5
"""With fewer wrong (or right) objects than this nothing is said of what foretells them."""


@dataclass(frozen=True)
class Objects:
    """Objects of the classes that have enough of them, [m]: a row is one object.

    `wrong` is 1, 0, or -1 where labels do not say; `ids` their images; `blocks` [m, d] by name.
    `sampling` says what they count as.
    """

    ids: tuple[str, ...]
    class_id: np.ndarray
    box: np.ndarray
    area: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    blocks: Mapping[str, np.ndarray]
    sampling: Sampling

    def rows(self, class_id: int) -> np.ndarray:
        return np.flatnonzero(self.class_id == class_id)


@dataclass(frozen=True)
class Standing:
    """A prototype: its row, the objects nearest to it (a share of the class's), the part of these
    that is wrong, and how much more often they are than the class's other objects (tested)."""

    row: int
    class_id: int
    share: Estimate
    wrong: Estimate | None
    more: Estimate | None
    test: Test | None


@dataclass(frozen=True)
class Portrait:
    """A class: its prototypes, criticisms (rows), and MMD^2 by the number of prototypes, [p], with
    what random sets leave, [draws, p]; `witness` at each criticism."""

    class_id: int
    objects: int
    prototypes: tuple[Standing, ...]
    criticisms: tuple[int, ...]
    witness: Floats
    left: Floats
    chance: Floats


@dataclass(frozen=True)
class Foretold:
    """Of a class, or of all: objects of either outcome, and how well each score tells them."""

    class_id: int | None
    right: int
    wrong: int
    areas: Mapping[str, Estimate] | None


@dataclass(frozen=True)
class Neighbours:
    """Of each object how much nearer wrong ones are (:func:`foretell.nearness`), and the nearest
    right and wrong one, [m, 2] rows, -1 for none."""

    score: Floats
    nearest: np.ndarray


LISTED = Key("listed", Objects)
PORTRAITS: Key[tuple[Portrait, ...]] = Key("portraits", tuple)
NEIGHBOURS = Key("neighbours", Neighbours)
FORETOLD: Key[tuple[Foretold, ...]] = Key("foretold", tuple)


def list_objects(study: Examples, context: Context, known: Known) -> Known:
    """The objects of all classes that have enough. Raises InputError where none has."""
    table: SampleTable = known[OBJECTS]
    wanted = study.class_ids(context)
    column = table.column("class") if table.ids else np.empty(0, np.int64)
    counts = {c: int((column == c).sum()) for c in wanted}
    enough = [c for c in wanted if counts[c] >= study.min_objects]
    if not enough:
        most = max(wanted, key=lambda c: counts[c])
        raise InputError(
            f"{context.manifest.where}: no class has {study.min_objects} objects "
            f"({context.model.classes[most]!r} has the most, {counts[most]}); give more images, or "
            "lower min_objects or min_share"
        )
    kept = np.isin(column, enough)
    ids = [table.ids[i] for i in table.owner("class")[kept].tolist()]
    right = table.column("right")[kept].astype(np.float64)
    return LISTED(
        Objects(
            tuple(ids),
            column[kept],
            table.column("box")[kept],
            table.column("area")[kept],
            table.column("confidence")[kept].astype(np.float64),
            right,
            wrongness(right, study.right),
            {name: table.column(name)[kept].astype(np.float64) for name in BLOCKS},
            sampling_of(context, ids, study.unit, (context.seed, 47)),
        )
    )


def portray(study: Examples, context: Context, known: Known) -> Known:
    """Prototypes and criticisms, without a look at outcomes; then what outcomes each stands for."""
    objects = known[LISTED]
    made = [_portrait(study, context, objects, c) for c in np.unique(objects.class_id).tolist()]
    asked, places = list[Outcomes](), list[tuple[int, int]]()
    for k, (_, standings) in enumerate(made):
        for s, (_, inside, rows) in enumerate(standings):
            known_rows = objects.wrong[rows] >= 0
            own, bad = inside[known_rows], objects.wrong[rows][known_rows]
            # Of two, the one says what the other says.
            said = len(standings) - s < 2 and len(standings) < 3
            if said or not 0 < own.sum() < len(own) or not 0 < bad.sum() < len(bad):
                continue
            asked.append(Outcomes(own, bad, objects.sampling.at(rows[known_rows])))
            places.append((k, s))
    tests = dict(zip(places, wrong_otherwise(asked, context.seed, len(objects.ids)), strict=True))
    portraits = []
    for k, (portrait, standings) in enumerate(made):
        found = [_standing(objects, one, tests.get((k, s))) for s, one in enumerate(standings)]
        portraits.append(portrait(tuple(found)))
    return PORTRAITS(tuple(portraits))


def _portrait(study: Examples, context: Context, objects: Objects, class_id: int):  # type: ignore[no-untyped-def]
    rows = objects.rows(class_id)
    own = {name: values[rows] for name, values in objects.blocks.items()}
    kernel = Likeness.fit(own, study.weights)(own, own)
    chosen = prototypes(kernel, study.prototypes)
    worst = criticisms(kernel, chosen, study.criticisms)
    nearest = np.argmax(kernel[:, chosen], axis=1)
    standings = [(int(rows[one]), nearest == s, rows) for s, one in enumerate(chosen)]

    def finished(found: tuple[Standing, ...]) -> Portrait:
        return Portrait(
            class_id,
            len(rows),
            found,
            tuple(rows[worst].tolist()),
            witness(kernel, chosen)[worst],
            np.array([left(kernel, prototypes(kernel, m + 1)) for m in range(len(chosen))]),
            by_chance(kernel, len(chosen), context.seed),
        )

    return finished, standings


def _standing(
    objects: Objects, one: tuple[int, np.ndarray, np.ndarray], test: Test | None
) -> Standing:
    row, inside, rows = one
    told = objects.wrong[rows] >= 0
    both = objects.sampling.at(rows)
    wrong = more = None
    if (inside & told).any():
        mine = rows[inside & told]
        wrong = objects.sampling.at(mine).share(objects.wrong[mine])
    if test is not None:
        more = both.at(told).difference(objects.wrong[rows][told], inside[told], 0, 1)
    return Standing(row, int(objects.class_id[row]), both.share(inside), wrong, more, test)


def find_neighbours(study: Examples, context: Context, known: Known) -> Known:
    """Of each object the nearest of either outcome, among other groups; and what that foretells."""
    objects = known[LISTED]
    groups = [context.manifest.sample(name).group for name in objects.ids]
    # Images of one group alone: then at least other images.
    names = groups if len(set(groups)) > 1 else list(objects.ids)
    fold = foretell.fold_of(names, study.folds, context.seed)
    cut = foretell.fold_of(objects.sampling.groups, foretell.CUTS, context.seed)
    score, nearest = np.full(len(fold), np.nan), np.full((len(fold), 2), -1)
    without = np.full((len(fold), int(cut.max()) + 1), np.nan)
    for c in np.unique(objects.class_id).tolist():
        rows = objects.rows(c)
        blocks = {name: values[rows] for name, values in objects.blocks.items()}
        like = foretell.across(blocks, study.weights, fold[rows])
        wrong = objects.wrong[rows]
        score[rows], near = foretell.nearness(like, wrong, study.neighbours)
        nearest[rows] = np.where(near >= 0, rows[near], -1)
        for b in range(without.shape[1]):
            gone = np.where(cut[rows] == b, -1, wrong)
            without[rows, b] = foretell.nearness(like, gone, study.neighbours)[0]
    found = _foretold_all(objects, score, without, cut)
    return NEIGHBOURS(Neighbours(score, nearest)) | FORETOLD(found)


def _foretold_all(
    objects: Objects, score: Floats, without: Floats, cut: np.ndarray
) -> tuple[Foretold, ...]:
    """How well nearness and the network's doubt tell wrong objects from right ones of a class."""
    usable = np.isfinite(score) & (objects.wrong >= 0)
    found, every = list[Foretold](), list[int]()
    for c in np.unique(objects.class_id).tolist():
        rows = np.flatnonzero(usable & (objects.class_id == c))
        one = _foretold(objects, score, without, cut, rows, c)
        every += rows.tolist() if one.areas else []
        found.append(one)
    rows = np.array(sorted(every), np.int64)
    return (_foretold(objects, score, without, cut, rows, None), *found)


def _foretold(
    objects: Objects,
    score: Floats,
    without: Floats,
    cut: np.ndarray,
    rows: np.ndarray,
    class_id: int | None,
) -> Foretold:
    wrong = objects.wrong[rows]
    counts = int((wrong == 0).sum()), int((wrong == 1).sum())
    if min(counts) < FEWEST_WRONG:
        return Foretold(class_id, *counts, None)
    pair = foretell.Scores(score[rows], 1 - objects.confidence[rows], without[rows], cut[rows])
    strata, sampling = objects.class_id[rows], objects.sampling.at(rows)
    return Foretold(class_id, *counts, foretell.compared(pair, wrong, strata, sampling))

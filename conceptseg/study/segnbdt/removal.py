"""What decisions lose when their evidence, or a part of the image, is removed: estimates, tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.p_values import Side
from conceptseg.study.segnbdt.columns import CONCEPT, KNOWN
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import CONCEPTS, CONTEXT, EVIDENCE, counted_images
from conceptseg.study.segnbdt.grown import GROWN
from conceptseg.study.segnbdt.judge import JUDGED
from conceptseg.study.segnbdt.tree import Tree


@dataclass(frozen=True)
class Removal:
    """A branch of `edge`, and how its margin changes with something removed: a row of a table.

    `effect` is the change, of evidence less what chance would do. For evidence `margin`, `removed`
    and `by_chance` are means over the images. For a `part` `size` is the mean size of the change
    and `elsewhere` that with as much filled elsewhere, as near (:mod:`.parts`), in the images in
    which there is such a place; the test is of both: the margin moves, and by more than elsewhere.
    """

    node: int
    question: str
    branch: str
    edge: int
    images: int
    effect: Estimate
    test: Test
    part: str = ""
    margin: float | None = None
    removed: float | None = None
    by_chance: float | None = None
    size: float | None = None
    elsewhere: float | None = None


@dataclass(frozen=True)
class Removals:
    """The changes without evidence, and those without a part of the image: two families."""

    evidence: tuple[Removal, ...]
    parts: tuple[Removal, ...]


REMOVALS = Key("removals", Removals)


def assess(study: Segnbdt, context: Context, known: Known) -> Known:
    """How margins change when something is removed, in the images that hashing drew."""
    found, sampling = known[EVIDENCE], known[JUDGED].sampling
    counted = counted_images(study, known[JUDGED].ids)
    table = SampleTable.each({name: found.tables[name] for name in counted})
    classes = context.model.classes
    return REMOVALS(removals_of(study, table, sampling, known[GROWN].tree, classes))


def removals_of(
    study: Segnbdt, table: SampleTable, sampling: Sampling, tree: Tree, classes: Sequence[str]
) -> Removals:
    """How margins change: by the evidence removed less the same shape elsewhere, and by parts.

    The first is negative where the map shows what the decision rests on.
    """
    gone: dict[int, dict[str, tuple[float, ...]]] = {}
    moved: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    for sample_id in table.ids:
        one = table.tables[sample_id]
        edges = one["edge"].tolist()
        for edge, margin, changes in zip(edges, one["margin"], one["removed"], strict=True):
            if np.isfinite(changes).all():
                own = (margin, changes[0], changes[1:].mean())
                gone.setdefault(edge, {})[sample_id] = own
        for part, changes in zip(one["part"].tolist(), one["parts"], strict=True):
            for edge, (change, elsewhere) in zip(edges, changes.T.tolist(), strict=True):
                if np.isfinite(change):
                    moved.setdefault((edge, part), {})[sample_id] = (change, elsewhere)

    def words(edge: int) -> dict[str, Any]:
        number, branch = tree.edges[edge]
        names = tree.node_name(number, classes), tree.branch_name(number, branch, classes)
        return {"edge": edge, "node": number, "question": names[0], "branch": names[1]}

    evidence, parts = [], []
    for edge in sorted(gone):
        margin, removed, by_chance = np.array(list(gone[edge].values())).T
        columns = {"margin": margin, "removed": removed, "by_chance": by_chance}
        row = words(edge) | {name: float(values.mean()) for name, values in columns.items()}
        evidence.append((row, list(gone[edge]), removed - by_chance))
    for edge, part in sorted(moved):
        row = words(edge) | {"part": part_name(part, classes, tuple(study.masks))}
        ids, changes = zip(*moved[edge, part].items(), strict=True)
        parts.append((row, ids, np.array(changes)))
    return Removals(
        family(evidence, sampling, "less", study.seed), beyond(parts, sampling, study.seed)
    )


def part_name(part: int, classes: Sequence[str], concepts: Sequence[str]) -> str:
    """What a part is called: a class's name, "known context", or "concept: " and its name."""
    if part >= 0:
        return classes[part]
    return KNOWN if part == CONTEXT else CONCEPT + concepts[CONCEPTS - part]


def beyond(
    changes: Sequence[tuple[dict[str, Any], Sequence[str], np.ndarray]],
    sampling: Sampling,
    seed: int,
) -> tuple[Removal, ...]:
    """Rows of parts, by changes [m, 2] of so many images: with the part filled, and the size of
    those with as much filled elsewhere, as near.

    The claim is that of two tests, each over all rows together: that the mean change is not zero,
    and that its size is larger than elsewhere.
    """
    moves = [Question(values[:, 0], sampling.named(ids)) for _, ids, values in changes]
    sizes = [
        Question(np.abs(values[:, 0]) - values[:, 1], sampling.named(ids))
        for _, ids, values in changes
    ]
    larger = judge(sizes, side="greater", seed=seed)
    tests = judge(moves, side="two", seed=seed, also=[larger])
    rows = []
    for (row, _, values), one, test in zip(changes, moves, tests, strict=True):
        known = np.isfinite(values[:, 1])
        size, elsewhere = np.abs(values[known]).mean(0).tolist() if known.any() else (None, None)
        effect = one.sampling.unbounded(one.values)
        rows.append(
            Removal(
                **row,
                images=len(one.values),
                effect=effect,
                test=test,
                size=size,
                elsewhere=elsewhere,
            )
        )
    return tuple(rows)


def family(
    changes: Sequence[tuple[dict[str, Any], Sequence[str], np.ndarray]],
    sampling: Sampling,
    side: Side,
    seed: int,
) -> tuple[Removal, ...]:
    """Rows with the mean of their changes, values of so many images, all tested together."""
    asked = [Question(values, sampling.named(ids)) for _, ids, values in changes]
    tests = judge(asked, side=side, seed=seed)
    return tuple(
        Removal(**row, images=len(one.values), effect=one.sampling.unbounded(one.values), test=test)
        for (row, *_), one, test in zip(changes, asked, tests, strict=True)
    )

"""What decisions lose when their evidence, or a part of the image, is removed: estimates, tests."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.p_values import Side
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import CONTEXT, EVIDENCE
from conceptseg.study.segnbdt.grown import GROWN
from conceptseg.study.segnbdt.judge import JUDGED

K = TypeVar("K", int, tuple[int, int])
V = TypeVar("V")


@dataclass(frozen=True)
class Removal:
    """A branch of `edge`, and how its margin changes with something removed: a row of a table.

    `effect` is the change less what chance would do. For evidence `margin`, `removed` and
    `by_chance` are means over the images, for a `part` they are empty.
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


@dataclass(frozen=True)
class Removals:
    """The changes without evidence, and those without a part of the image: two families."""

    evidence: tuple[Removal, ...]
    parts: tuple[Removal, ...]


REMOVALS = Key("removals", Removals)


def assess(study: Segnbdt, context: Context, known: Known) -> Known:
    """How margins change: by the evidence removed less the same shape elsewhere, and by parts.

    The first is negative where the map shows what the decision rests on.
    """
    table, sampling = known[EVIDENCE], known[JUDGED].sampling
    tree, classes = known[GROWN].tree, context.model.classes

    def words(edge: int) -> dict[str, Any]:
        number, branch = tree.edges[edge]
        names = tree.node_name(number, classes), tree.branch_name(number, branch, classes)
        return {"edge": edge, "node": number, "question": names[0], "branch": names[1]}

    evidence, gone = [], []
    for edge, ids, numbers in _gathered(evidence_removed(table)):
        margin, removed, by_chance = np.array(numbers).T
        own = {"margin": margin, "removed": removed, "by_chance": by_chance}
        evidence.append(words(edge) | {name: float(one.mean()) for name, one in own.items()})
        gone.append((ids, removed - by_chance))
    parts, moved = [], []
    for (edge, part), ids, changes in _gathered(parts_removed(table)):
        parts.append(words(edge) | {"part": "known context" if part == CONTEXT else classes[part]})
        moved.append((ids, np.array(changes)))
    removals = Removals(
        family(evidence, gone, sampling, "less", study.seed),
        family(parts, moved, sampling, "two", study.seed),
    )
    return REMOVALS(removals)


def _gathered(rows: Iterable[tuple[K, str, V]]) -> Iterator[tuple[K, list[str], list[V]]]:
    """Of each key in ascending order: the images that have it, and their values."""
    held: dict[K, dict[str, V]] = {}
    for key, sample_id, value in rows:
        held.setdefault(key, {})[sample_id] = value
    for key in sorted(held):
        yield key, list(held[key]), list(held[key].values())


def evidence_removed(table: SampleTable) -> Iterator[tuple[int, str, list[float]]]:
    """Of each edge and image: the margin, its change by removal, and the mean change elsewhere."""
    for sample_id in table.ids:
        one = table.tables[sample_id]
        for edge, margin, gone in zip(one["edge"], one["margin"], one["removed"], strict=True):
            if np.isfinite(gone).all():
                yield int(edge), sample_id, [float(margin), float(gone[0]), float(gone[1:].mean())]


def parts_removed(table: SampleTable) -> Iterator[tuple[tuple[int, int], str, float]]:
    """Of each edge with a removed part, and image: the change of the margin at other pixels."""
    for sample_id in table.ids:
        one = table.tables[sample_id]
        for part, *changes in one["parts"].tolist():
            for edge, change in zip(one["edge"], changes, strict=True):
                if np.isfinite(change):
                    yield (int(edge), int(part)), sample_id, change


def family(
    rows: list[dict[str, Any]],
    changes: list[tuple[list[str], np.ndarray]],
    sampling: Sampling,
    side: Side,
    seed: int,
) -> tuple[Removal, ...]:
    """The rows with the mean of their changes, values of so many images, all tested together."""
    asked = [Question(values, sampling.named(ids)) for ids, values in changes]
    tests = judge(asked, side=side, seed=seed)
    return tuple(
        Removal(**row, images=len(one.values), effect=one.sampling.mean(one.values), test=test)
        for row, one, test in zip(rows, asked, tests, strict=True)
    )

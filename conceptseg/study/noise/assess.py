"""What the curves show: each method's at each share, and the fitted one's against plain maps."""

from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import choice_labels
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.study.noise.config import PLAIN, NoiseStudy
from conceptseg.study.noise.curves import CURVES
from conceptseg.study.shared.studied import sampling_of


@dataclass(frozen=True)
class Line:
    """The curve of a class, fill and method: Dice at each share, and its mean over all shares."""

    class_id: int
    fill: str
    method: str
    dice: tuple[Estimate, ...]
    area: Estimate


@dataclass(frozen=True)
class Against:
    """Dice by the fitted method less that by another, at the share that is tested.

    `test` is None where nothing is claimed, of methods that are no plain maps.
    """

    class_id: int
    fill: str
    method: str
    difference: Estimate
    test: Test | None


@dataclass(frozen=True)
class Assessed:
    """All curves, all differences, the mean level (in the region, elsewhere) of each class, and
    what the cases count as."""

    lines: tuple[Line, ...]
    against: tuple[Against, ...]
    levels: dict[int, tuple[Estimate, Estimate]]
    sampling: Sampling


ASSESSED = Key("noise assessed", Assessed)


def assess(study: NoiseStudy, context: Context, known: Known) -> Known:
    """Paired by image; all differences from plain maps, of all classes and fills, together."""
    curves = known[CURVES]
    ids = [name for name, _ in curves.cases]
    sampling = sampling_of(context, ids, study.unit, (context.seed, 59), draws=1000)
    class_id = np.array([c for _, c in curves.cases])
    plain = set(choice_labels(PLAIN))
    lines, asked = list[Line](), list[tuple[int, str, str, np.ndarray, np.ndarray]]()
    levels = dict[int, tuple[Estimate, Estimate]]()
    for c in np.unique(class_id).tolist():
        rows = np.flatnonzero(class_id == c)
        own = sampling.at(rows)
        levels[c] = (own.mean(curves.levels[rows, 0]), own.mean(curves.levels[rows, 1]))
        for f, fill in enumerate(study.fills):
            dice = curves.dice[rows][:, :, f]
            for m, method in enumerate(curves.methods):
                each = tuple(own.pointed(column, 0, 1) for column in dice[:, m].T)
                area = own.pointed(_area(dice[:, m]), 0, 1)
                lines.append(Line(c, fill, method, each, area))
            for m, method in enumerate(curves.methods[1:], start=1):
                gap = dice[:, 0, study.at] - dice[:, m, study.at]
                asked.append((c, fill, method, gap, rows))
    tested = [one for one in asked if one[2] in plain]
    questions = [Question(gap, sampling.at(rows)) for *_, gap, rows in tested]
    found = judge(questions, side="two", seed=context.seed)
    tests = {one[:3]: test for one, test in zip(tested, found, strict=True)}
    against = tuple(
        Against(
            c, fill, method, sampling.at(rows).pointed(gap, -1, 1), tests.get((c, fill, method))
        )
        for c, fill, method, gap, rows in asked
    )
    return ASSESSED(Assessed(tuple(lines), against, levels, sampling))


def _area(curves: np.ndarray) -> np.ndarray:
    """Areas [n] under curves [n, shares] over shares from 0 to 1."""
    return np.asarray(np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1))

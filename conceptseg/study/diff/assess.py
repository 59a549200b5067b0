"""How much each class, unit and concept changed, in what units, and whether that is shown."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.learn import MOMENTS, SHARED
from conceptseg.study.diff.measure import MEASURED, PIXELS
from conceptseg.study.shared.atoms import NONE, concept_names
from conceptseg.study.shared.studied import sampling_of

LIKELY = 2.0
"""Times as dense as over all images, from which a concept is called by a class."""
WIDTH = 2 * 1.96
"""Standard errors that an interval of 95 % is wide."""


@dataclass(frozen=True)
class Moved:
    """A class's IoU under both networks, and pixels that became and ceased to be it, as shares."""

    class_id: int
    images: int
    before: float
    after: float
    change: Estimate
    drift: float
    gained: float
    lost: float
    test: Test
    shown: bool


@dataclass(frozen=True)
class Shift:
    """What erasing a concept does to a class in either network, and how that changed.

    `drift` is the change in units of drift; `outside` the share of the concept's codes outside of
    the predicted class, in either network; `shown` that the change counts as one.
    """

    concept: int
    class_id: int
    images: int
    before: float
    after: float
    change: Estimate
    drift: float
    outside: tuple[float, float]
    test: Test
    shown: bool


@dataclass(frozen=True)
class Concept:
    """What a concept is called by either network, and the other's share of its atoms' length."""

    number: int
    names: tuple[str, str]
    weight: float
    means: tuple[float, float]


@dataclass(frozen=True)
class Units:
    """Each unit's partner in the other network, -1 for none, their correlation, and linear CKA."""

    partner: np.ndarray
    correlation: np.ndarray
    cka: float


MOVED: Key[tuple[Moved, ...]] = Key("moved", tuple)
SHIFTS: Key[tuple[Shift, ...]] = Key("shifts", tuple)
CONCEPTS: Key[tuple[Concept, ...]] = Key("concepts", tuple)
UNITS = Key("units", Units)


def match_units(study: Diff, context: Context, known: Known) -> Known:
    """Units of either layer, one to one by the greatest total correlation."""
    from scipy.optimize import linear_sum_assignment

    m = known[MOMENTS].values
    n = float(m["count"])
    a, b = m["a"] / n, m["b"] / n
    aa, bb, ab = (m[x + y] / n - np.outer(m[x], m[y]) / n**2 for x, y in ("aa", "bb", "ab"))
    spread = np.sqrt(np.outer(np.maximum(np.diag(aa), 0), np.maximum(np.diag(bb), 0)))
    # A unit that never varies correlates with none.
    tiny = 1e-9 * max(float(np.abs(a).max(initial=0) * np.abs(b).max(initial=0)), 1e-300)
    correlation = np.divide(ab, spread, out=np.zeros_like(ab), where=spread > tiny)
    rows, columns = linear_sum_assignment(-correlation)
    partner, found = np.full(len(aa), -1), np.zeros(len(aa))
    partner[rows], found[rows] = columns, correlation[rows, columns]
    size = np.linalg.norm(aa) * np.linalg.norm(bb)
    cka = float((ab**2).sum() / size) if size > 0 else float("nan")
    return UNITS(Units(partner, found, cka))


def judge_classes(study: Diff, context: Context, known: Known) -> Known:
    """The change of each class's IoU."""
    table = known[PIXELS]
    iou = table.column("iou").astype(np.float64)
    own = sampling_of(context, table.ids, study.unit, context.seed)
    gained, lost = (table.column(name).mean(0) for name in ("gained", "lost"))
    held = [c for c in study.class_ids(context) if np.isfinite(iou[:, 0, c]).sum() >= 2]
    values = {c: iou[:, 1, c] - iou[:, 0, c] for c in held}
    seeds = {c: _means(iou[:, 2:, c] - iou[:, 0, c, None]) for c in held}
    tests, made = _judged(study, [values[c] for c in held], own), list[Moved]()
    unit = _pooled(list(seeds.values()))
    for c, test in zip(held, tests, strict=True):
        change = own.pointed(values[c], -1.0, 1.0)
        shown = _shown(study, change, test, seeds[c])
        made.append(
            Moved(
                c,
                int(np.isfinite(values[c]).sum()),
                float(np.nanmean(iou[:, 0, c])),
                float(np.nanmean(iou[:, 1, c])),
                change,
                _in_units(change, unit),
                float(gained[c]),
                float(lost[c]),
                test,
                shown,
            )
        )
    return MOVED(tuple(made))


def judge_concepts(study: Diff, context: Context, known: Known) -> Known:
    """The change of what each class owes to each concept; all are one family."""
    table, shared = known[MEASURED], known[SHARED]
    effect = table.column("effect").astype(np.float64)
    own = sampling_of(context, table.ids, study.unit, context.seed)
    held = [c for c in study.class_ids(context) if np.isfinite(effect[:, 0, 0, c]).sum() >= 2]
    cells = [(q, c) for c in held for q in range(shared.count)]
    values = [effect[:, 1, q, c] - effect[:, 0, q, c] for q, c in cells]
    seeds = [_means(effect[:, 2:, q, c] - effect[:, 0, q, c, None]) for q, c in cells]
    unit, tests, made = _pooled(seeds), _judged(study, values, own), list[Shift]()
    worst = {
        c: np.max([np.abs(s) for s, at in zip(seeds, cells, strict=True) if at[1] == c], 0)
        for c in held
    }
    total, outside = table.column("mean").sum(0), table.column("outside").sum(0)
    away = outside / np.maximum(total, 1e-12)[..., None]
    for (q, c), value, test in zip(cells, values, tests, strict=True):
        change = own.pointed(value, -2.0, 2.0)
        made.append(
            Shift(
                q,
                c,
                int(np.isfinite(value).sum()),
                float(np.nanmean(effect[:, 0, q, c])),
                float(np.nanmean(effect[:, 1, q, c])),
                change,
                _in_units(change, unit),
                (float(away[0, q, c]), float(away[1, q, c])),
                test,
                _shown(study, change, test, worst[c]),
            )
        )
    return SHIFTS(tuple(made)) | CONCEPTS(_concepts(context, known))


def _judged(study: Diff, values: list[np.ndarray], own: Sampling) -> list[Test]:
    return judge([Question(one, own) for one in values], side="two", seed=study.seed)


def _means(values: np.ndarray) -> np.ndarray:
    """Means over images of changes [n, s], nan left out: [s], of no image 0."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(0)
    return np.asarray(total / np.maximum(known.sum(0), 1))


def _pooled(seeds: list[np.ndarray]) -> float:
    """The root mean square of the changes by other seeds; nan where there are none."""
    every = np.concatenate(seeds) if seeds else np.empty(0)
    return float(np.sqrt((every**2).mean())) if every.size else float("nan")


def _in_units(change: Estimate, unit: float) -> float:
    """The change over the drift between seeds, or, without any, over its standard error; nan where
    neither is known."""
    if np.isnan(unit):
        unit = (change.high - change.low) / WIDTH
    if change.value == 0 or np.isnan(unit):
        return 0.0 if change.value == 0 else float("nan")
    return float(change.value / unit) if unit > 0 else float("inf") * np.sign(change.value)


def _shown(study: Diff, change: Estimate, test: Test, seeds: np.ndarray) -> bool:
    """Whether a change is shown, large enough, and larger than that of any other seed."""
    beyond = max(study.smallest_effect, float(np.abs(seeds).max(initial=0.0)))
    return bool(test.passed and change.excludes(0.0) and abs(change.value) >= beyond)


def _concepts(context: Context, known: Known) -> tuple[Concept, ...]:
    shared, table = known[SHARED], known[MEASURED]
    on, mean = table.column("on").sum(0), table.column("mean").sum(0)
    area = table.column("area").sum(0)
    area = area / len(table.ids)
    weight = shared.lengths[1] / np.maximum(shared.lengths[:2].sum(0), 1e-12)
    found = []
    for q in range(shared.count):
        called = [_called(on[v, q] / max(mean[v, q], 1e-12), area, context) for v in (0, 1)]
        means = mean[:2, q] / len(table.ids)
        names = (called[0], called[1])
        found.append(Concept(q, names, float(weight[q]), (float(means[0]), float(means[1]))))
    return tuple(found)


def _called(share: np.ndarray, area: np.ndarray, context: Context) -> str:
    """What a concept is densest on, a class or the known context, if twice as dense as over all."""
    density = np.where(area > 1e-3, share / np.maximum(area, 1e-12), 0.0)
    best = int(np.argmax(density))
    every = concept_names(context.model.classes)
    return every[best] if density[best] >= LIKELY else NONE

"""Second sweep of a saliency study: every method explains every case, every metric judges."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from conceptseg.catalogue import Choice, choice_labels, parse
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer, Measured, Metric, Trial
from conceptseg.explain.methods import explainers
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target, configured
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.saliency.choose import CASES, Case
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.shared.compare import METHODS
from conceptseg.study.shared.sweep import One, Sweep

PASSES = ("forward", "backward", "tail", "tail backward")
COUNTS = ("masks", "samples", "coalitions", "steps", "channels")
"""Parameters of methods that say about how many passes they take."""


@dataclass(frozen=True)
class Judged:
    """What all metrics say of all methods in all cases.

    `values` [cases, methods, metrics], nan where undefined; `seconds` [cases, methods]; `passes`
    [cases, methods, kinds]; `curves` by metric [cases, methods, points], taken `at` [points], for
    those that have one; `chance` [cases], how much of the surroundings the known context covers,
    nan where none is known; `maps` [methods, h, w], `images` [c, h, w] and `regions` [h, w] of
    the first `gallery` cases.
    """

    cases: tuple[Case, ...]
    methods: tuple[str, ...]
    metrics: Mapping[str, Metric]
    values: np.ndarray
    seconds: np.ndarray
    passes: np.ndarray
    curves: Mapping[str, np.ndarray]
    at: Mapping[str, np.ndarray]
    chance: np.ndarray
    maps: Sequence[np.ndarray]
    images: Sequence[np.ndarray]
    regions: Sequence[np.ndarray]

    def of(self, metric: str) -> np.ndarray:
        """Values [cases, methods] of one metric."""
        return self.values[:, :, list(self.metrics).index(metric)]


METRICS: Key[dict[str, Metric]] = Key("metrics", dict)
JUDGEMENTS = Key("judgements", SampleTable)
JUDGED = Key("judged", Judged)


@dataclass(frozen=True)
class Judge(Sweep):
    """Each method's map of each case, made in a scene of its own, and what each metric says."""

    study: Saliency

    name = "judge"
    cost = "each method's own passes and each metric's, per case"
    labels = "optional"
    rows = JUDGEMENTS

    def wanted(self, known: Known) -> Collection[str]:
        return {sample_id for sample_id, _ in known[CASES]}

    def forwards(self, context: Context) -> float:
        """Gradient methods taken for three passes, others by the masks or steps they name."""
        methods = explainers(self.study.local_methods(), context.layer).values()
        each = sum(
            max(3.0, *(float(getattr(method, name, None) or 0) for name in COUNTS))
            for method in methods
        )
        again = self.study.sanity_images / self.study.images
        count = min(self.study.images, len(context.manifest.samples))
        return count * self.study.classes_per_image * each * (1 + 5 * again)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        methods = explainers(self.study.local_methods(), context.layer)
        yield METHODS(methods) | METRICS(parse_metrics(self.study.measures()))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        cases = known[CASES]
        numbers = [n for n, (sample_id, _) in enumerate(cases) if sample_id == one.id]
        try:
            rows = [self._case(context, one, known, number) for number in numbers]
        except InputError as error:
            raise InputError(f"image {one.id!r}: {error}") from None
        whole = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        shown = sum(number < self.study.gallery for number in numbers)
        image = one.image[0].float().cpu().numpy() if shown else np.zeros((0, 0, 0))
        return {**whole, "maps": whole["maps"][:shown], "image": image}

    def _case(self, context: Context, one: One, known: Known, number: int) -> Tables:
        """All that is kept of one case; the metrics share a scene, each method has its own."""
        target = configured(self.study.target, known[CASES][number][1])
        matters = context.manifest.context(context.manifest.sample(one.id))
        around = None if matters is None else torch.from_numpy(matters)[None].to(one.image.device)
        truth = None if one.labels is None else one.labels[None]
        methods = list(known[METHODS].values())
        size, room = context.run.batch_size, self.study.memory_gib
        scene = partial(Scene, context.model, one.image, truth, batch_size=size, memory_gib=room)
        # All maps come before the first number: a method that does not suit the image is refused
        # before metrics that explain again have been paid for.
        maps = [_explained(each, scene(), target) for each in methods]
        shared = scene()
        trials = [
            Trial(shared, method, target, made, around)
            for method, (made, *_) in zip(methods, maps, strict=True)
        ]
        sanity = number < self.study.sanity_images
        metrics = known[METRICS].values()
        measured = [[_measure(metric, trial, sanity) for metric in metrics] for trial in trials]
        region = shared.fix(target).mask[0].cpu().numpy()
        return {
            "values": np.array([[float(said.value[0]) for said in row] for row in measured]),
            "seconds": np.array([seconds for _, seconds, _ in maps]),
            "passes": np.array([passes for *_, passes in maps]),
            "maps": np.stack([made[0].cpu().numpy() for made, *_ in maps]),
            **_curves(measured),
            "region": region,
            "chance": np.array(_chance(region, matters)),
            "number": np.array(number),
        }


def join_cases(study: Saliency, context: Context, known: Known) -> Known:
    """The sweep's table, case by case in the order in which they were drawn."""
    tables = known[JUDGEMENTS].tables
    place = {
        number: (sample_id, row)
        for sample_id, table in tables.items()
        for row, number in enumerate(table["number"].tolist())
    }
    ordered = [place[number] for number in range(len(place))]

    def rows(key: str) -> list[np.ndarray]:
        return [tables[sample_id][key][row] for sample_id, row in ordered]

    methods, metrics = choice_labels(study.local_methods()), parse_metrics(study.measures())
    curves, at = {}, {}
    for m, name in enumerate(metrics):
        at[name] = max(rows(f"at-{m}"), key=len)
        if len(at[name]):  # cases in which the metric was not computed have no curve
            none = np.full((len(methods), len(at[name])), np.nan)
            curves[name] = np.stack([c if c.shape[1] else none for c in rows(f"curve-{m}")])
    shown = ordered[: study.gallery]
    judged = Judged(
        known[CASES],
        methods,
        metrics,
        **{name: np.stack(rows(name)) for name in ("values", "seconds", "passes", "chance")},
        curves=curves,
        at=at,
        maps=[tables[sample_id]["maps"][row] for sample_id, row in shown],
        images=[tables[sample_id]["image"] for sample_id, _ in shown],
        regions=[tables[sample_id]["region"][row] for sample_id, row in shown],
    )
    return JUDGED(judged)


def parse_metrics(entries: Sequence[Choice]) -> dict[str, Metric]:
    """Metrics by label."""
    return dict(zip(choice_labels(entries), (parse("metrics", e) for e in entries), strict=True))


def _measure(metric: Metric, trial: Trial, sanity: bool) -> Measured:
    """What a metric says, or nan where it is not computed."""
    if (metric.explains_again and not sanity) or (metric.needs_context and trial.context is None):
        return Measured(trial.attributions.new_full((len(trial.scene),), float("nan")))
    return metric.measure(trial)


def _chance(region: np.ndarray, matters: np.ndarray | None) -> float:
    """Share of the pixels outside of a region that known context covers: CBL by chance."""
    if matters is None or region.all():
        return float("nan")
    return float(matters[~region].mean())


def _curves(measured: Sequence[Sequence[Measured]]) -> dict[str, np.ndarray]:
    """Each metric's curves of all methods [methods, points], nan without one, and their points."""
    arrays: dict[str, np.ndarray] = {}
    for m, column in enumerate(zip(*measured, strict=True)):
        at = max((said.at for said in column), key=len)
        curves = np.full((len(column), len(at)), np.nan)
        for row, said in zip(curves, column, strict=True):
            if said.curve is not None:
                row[:] = said.curve[0].double().cpu().numpy()
        arrays |= {f"curve-{m}": curves, f"at-{m}": np.array(at, np.float64)}
    return arrays


def _explained(method: Explainer, scene: Scene, target: Target) -> tuple[Tensor, float, list[int]]:
    """A method's maps [1, h, w] in a scene of its own, its seconds, and its passes by kind."""
    started = _now(scene.images.device)
    maps = method.on(scene, [target])[0]
    seconds = _now(scene.images.device) - started
    return maps, seconds, [scene.passes.get(kind, 0) for kind in PASSES]


def _now(device: torch.device) -> float:
    """Seconds on a clock, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

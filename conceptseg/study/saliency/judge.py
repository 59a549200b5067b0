"""Second sweep of a saliency study: every method explains every case, every metric judges."""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptseg.catalogue import Choice, choice_labels, parse
from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer, Measured, Metric, Trial
from conceptseg.explain.methods import attempted, explainers, failing
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target, configured
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.saliency.choose import CASES, Case
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.shared.compare import METHODS, passes_of, score_of
from conceptseg.study.shared.sweep import One, Sweep

PASSES = ("forward", "backward", "tail", "tail backward")
ARRAYS = ("values", "seconds", "passes", "blank", "chance")


@dataclass(frozen=True)
class Judged:
    """What all metrics say of all methods in all cases.

    `values` [cases, methods, metrics], nan where undefined; `seconds` [cases, methods]; `passes`
    [cases, methods, kinds]; `curves` by metric [cases, methods, points], taken `at` [points], for
    those that have one; `blank` [cases, methods] whether a map is zero everywhere; `remarks`
    [cases][methods] what must be known of a map, by kind; `chance` [cases], how much of the
    surroundings the known context covers, nan where none is known; `maps` [methods, h, w], `images`
    [c, h, w] and `regions` [h, w] of the first `gallery` cases.
    """

    cases: tuple[Case, ...]
    methods: tuple[str, ...]
    metrics: Mapping[str, Metric]
    values: np.ndarray
    seconds: np.ndarray
    passes: np.ndarray
    blank: np.ndarray
    curves: Mapping[str, np.ndarray]
    at: Mapping[str, np.ndarray]
    chance: np.ndarray
    maps: Sequence[np.ndarray]
    images: Sequence[np.ndarray]
    regions: Sequence[np.ndarray]
    remarks: Sequence[Sequence[Mapping[str, str]]]

    def of(self, metric: str) -> np.ndarray:
        """Values [cases, methods] of one metric."""
        return self.values[:, :, list(self.metrics).index(metric)]


METRICS: Key[dict[str, Metric]] = Key("metrics", dict)
DEAR: Key[dict[tuple[str, str], float]] = Key("too dear to explain again", dict)
JUDGEMENTS = Key("judgements", SampleTable)
JUDGED = Key("judged", Judged)


@dataclass(frozen=True)
class Judge(Sweep):
    """Each method's map of each case, made in a scene of its own, and what each metric says.

    Methods that do not suit the network are left out. One that fails in a later case has no numbers
    there, no more than a metric that fails, and the result says so.
    """

    study: Saliency

    name = "judge"
    cost = "each method's own passes and each metric's, per case"
    labels = "optional"
    rows = JUDGEMENTS

    def wanted(self, known: Known) -> Collection[str]:
        return {sample_id for sample_id, _ in known[CASES]}

    def forwards(self, context: Context) -> float:
        """Each map, what the metrics ask of the network for it, and the maps that they ask for."""
        study = self.study
        each, metrics = passes_of(context, study.local_methods()), parse_metrics(study.measures())
        dear, own = too_dear(study, each), sum(one.passes for one in metrics.values())
        again = sum(
            one.further * passes
            for label, passes in each.items()
            for name, one in metrics.items()
            if (label, name) not in dear
        )
        cases = min(study.images, len(context.manifest.samples)) * study.classes_per_image
        once = sum(each.values()) + own * len(each)
        return cases * once + min(cases, study.sanity_images) * again

    def beside(self, context: Context, logits: Tensor) -> object:
        return score_of(logits)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        methods = explainers(context.suiting(self.study.local_methods()), context.layer)
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
        maps = [_explained(each, scene(), target) for each in methods]
        shared = scene()
        trials = [
            None if one.failed else Trial(shared, method, target, one.map, around)
            for method, one in zip(methods, maps, strict=True)
        ]
        sanity = number < self.study.sanity_images
        judged = [
            [
                _measure(metric, trial, sanity and (label, name) not in known[DEAR])
                for name, metric in known[METRICS].items()
            ]
            for label, trial in zip(known[METHODS], trials, strict=True)
        ]
        measured = [[said for said, _ in row] for row in judged]
        region = shared.fix(target).mask[0].cpu().numpy()
        return {
            "values": np.array([[float(said.value[0]) for said in row] for row in measured]),
            "seconds": np.array([one.seconds for one in maps]),
            "passes": np.array([one.passes for one in maps]),
            "maps": np.stack([one.map[0].cpu().numpy() for one in maps]),
            "blank": np.array([not bool(one.map.any()) for one in maps]),
            "failed": np.array([one.failed for one in maps], np.str_),
            "remarks": np.array([json.dumps(one.remarks) for one in maps], np.str_),
            "unmeasured": np.array([[why for _, why in row] for row in judged], np.str_),
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

    methods, metrics = labels_of_methods(study, context), parse_metrics(study.measures())
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
        **{name: np.stack(rows(name)) for name in ARRAYS},
        curves=curves,
        at=at,
        maps=[tables[sample_id]["maps"][row] for sample_id, row in shown],
        images=[tables[sample_id]["image"] for sample_id, _ in shown],
        regions=[tables[sample_id]["region"][row] for sample_id, row in shown],
        remarks=[[json.loads(one) for one in own.tolist()] for own in rows("remarks")],
    )
    cases = known[CASES]
    failed = _failed(cases, methods, metrics, rows("failed"), rows("unmeasured"))
    dear = [
        {"kind": "metric", "metric": name, "method": label, "reason": _dear(study, passes)}
        for (label, name), passes in known[DEAR].items()
    ]
    return JUDGED(judged) | left_out("judge")((*dear, *failed))


def _failed(
    cases: Sequence[Case],
    methods: Sequence[str],
    metrics: Iterable[str],
    failed: Sequence[np.ndarray],
    unmeasured: Sequence[np.ndarray],
) -> tuple[dict[str, Any], ...]:
    """Methods, and metrics of methods, that failed in a case, as rows of the result's `skipped`."""
    found: list[dict[str, Any]] = []
    for (sample_id, _), own, numbers in zip(cases, failed, unmeasured, strict=True):
        for method, why, each in zip(methods, own.tolist(), numbers.tolist(), strict=True):
            row = {"method": method, "sample": sample_id}
            found += [{"kind": "method", **row, "reason": why}] if why else []
            found += [
                {"kind": "metric", "metric": metric, **row, "reason": reason}
                for metric, reason in zip(metrics, each, strict=True)
                if reason
            ]
    return tuple(found)


def find_dear(study: Saliency, context: Context, known: Known) -> Known:
    """What is too dear, found once: by the first image, whoever judges which cases."""
    bound = study.again_passes
    return DEAR(too_dear(study, passes_of(context, study.local_methods())) if bound else {})


def too_dear(study: Saliency, each: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """The methods whose further maps for a metric would take more than `again_passes`, by method's
    and metric's label, and the passes that these would take in one case; `each` are the passes of a
    method's map, by its label."""
    if not study.again_passes:
        return {}
    return {
        (label, name): metric.further * passes
        for label, passes in each.items()
        for name, metric in parse_metrics(study.measures()).items()
        if metric.further * passes > study.again_passes
    }


def _dear(study: Saliency, passes: float) -> str:
    return (
        f"the further maps that it asks for take about {passes:.0f} passes a case, more than "
        f"again_passes: {study.again_passes}"
    )


def labels_of_methods(study: Saliency, context: Context) -> tuple[str, ...]:
    """What the methods that suit are called, in order."""
    return choice_labels(context.suiting(study.local_methods()))


def parse_metrics(entries: Sequence[Choice]) -> dict[str, Metric]:
    """Metrics by label."""
    return dict(zip(choice_labels(entries), (parse("metrics", e) for e in entries), strict=True))


def _measure(metric: Metric, trial: Trial | None, sanity: bool) -> tuple[Measured, str]:
    """What a metric says, nan where it is not computed, and why it fails where it does."""
    nothing, why = Measured(torch.full((1,), float("nan"))), ""
    if trial is None or (metric.explains_again and not sanity):
        return nothing, why
    if metric.needs_context and trial.context is None:
        return nothing, why
    try:
        return metric.measure(trial), why
    except Exception as error:
        reason = failing(error)
        if reason is None:
            raise
        return nothing, reason


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


@dataclass(frozen=True)
class _Explained:
    """A method's map [1, h, w], its seconds, its passes by kind, why it failed, else "", and what
    must be known of it, by kind."""

    map: Tensor
    seconds: float
    passes: list[float]
    failed: str = ""
    remarks: dict[str, str] = field(default_factory=dict)


def _explained(method: Explainer, scene: Scene, target: Target) -> _Explained:
    """A method's map in a scene of its own, nan where it fails."""
    started = _now(scene.images.device)
    maps, why = attempted(method, scene, [target])
    if why is not None:
        return _Explained(maps[0], float("nan"), [float("nan")] * len(PASSES), why)
    seconds = _now(scene.images.device) - started
    passes = [float(scene.passes.get(kind, 0)) for kind in PASSES]
    # Of one image and target no kind is remarked twice.
    remarks = {kind: text for text, kind in scene.remarked.items()}
    return _Explained(maps[0], seconds, passes, remarks=remarks)


def _now(device: torch.device) -> float:
    """Seconds on a clock, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

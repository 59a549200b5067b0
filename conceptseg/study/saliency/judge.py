"""Second sweep of a saliency study: every method explains every case, every metric judges."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.catalogue import choice_labels
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer, Measured, Metric, Trial
from conceptseg.explain.methods import explainers
from conceptseg.explain.target import Target, configured
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.saliency.choose import Case

if TYPE_CHECKING:
    import torch

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.explain.scene import Scene
    from conceptseg.study.saliency.config import Saliency

PASSES = ("forward", "backward", "tail", "tail backward")


@dataclass(frozen=True)
class Judge(Pass):
    """Each method's map of each case, made in a scene of its own, and what each metric says."""

    study: Saliency

    name = "judge"
    cost = "each method's own passes and each metric's, per case"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        wanted = {sample_id for sample_id, _ in carry["cases"]}
        return [sample for sample in context.manifest.samples if sample.id in wanted]

    def forwards(self, context: Context) -> float:
        """Gradient methods taken for three passes, others by the masks or steps they name."""
        methods = explainers(self.study.methods(), context.layer)
        each = sum(_guess(method) for method in methods.values())
        again = self.study.sanity_images / self.study.images
        count = min(self.study.images, len(context.manifest.samples))
        return count * self.study.classes_per_image * each * (1 + 5 * again)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        table = SampleTable.empty()
        order: list[Case] = carry["cases"]
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            truth = None if batch.labels is None else batch.labels[i : i + 1]
            own = [(n, c) for n, (s, c) in enumerate(order) if s == sample_id]
            try:
                rows = [self._case(context, sample_id, image, truth, *case) for case in own]
            except InputError as error:
                raise InputError(f"image {sample_id!r}: {error}") from None
            one = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
            shown = [k for k, (n, _) in enumerate(own) if n < self.study.gallery]
            one["maps"] = one["maps"][shown]
            one["image"] = image[0].float().cpu().numpy() if shown else np.zeros((0, 0, 0))
            table = table.merge(SampleTable.of(sample_id, one))
        return {"judged": table}

    def _case(
        self,
        context: Context,
        sample_id: str,
        image: torch.Tensor,
        truth: torch.Tensor | None,
        number: int,
        class_id: int,
    ) -> dict[str, np.ndarray]:
        """All that is kept of one case; the metrics share a scene, each method has its own."""
        import torch

        target = configured(self.study.target, class_id)
        known = context.manifest.context(context.manifest.sample(sample_id))
        around = None if known is None else torch.from_numpy(known)[None].to(image.device)
        methods = list(explainers(self.study.methods(), context.layer).values())
        metrics = list(measures(self.study.measures()).values())
        # All maps come before the first number: a method that does not suit the network is found
        # before metrics that explain again have been paid for.
        made = [_made(method, self._scene(context, image, truth), target) for method in methods]
        shared = self._scene(context, image, truth)
        sanity = number < self.study.sanity_images
        told = [
            [_measure(metric, Trial(shared, method, target, maps, around), sanity)
             for metric in metrics]
            for method, (maps, _, _) in zip(methods, made, strict=True)
        ]  # fmt: skip
        region = shared.fix(target).mask[0].cpu().numpy()
        return {
            "values": np.array([[float(one.value[0]) for one in own] for own in told]),
            "seconds": np.array([seconds for _, seconds, _ in made]),
            "passes": np.array([passes for *_, passes in made]),
            "maps": np.stack([maps[0].cpu().numpy() for maps, *_ in made]),
            **_curves(told),
            "region": region,
            "chance": np.array(_chance(region, known)),
            "number": np.array(number),
        }

    def _scene(self, context: Context, image: torch.Tensor, truth: torch.Tensor | None) -> Scene:
        from conceptseg.explain.scene import Scene

        return Scene(
            context.model,
            image,
            truth,
            batch_size=context.run.batch_size,
            memory_gib=self.study.memory_gib,
        )

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state["judged"]
        assert isinstance(table, SampleTable)
        return {"judged": judged(self.study, table, carry["cases"])}


@dataclass(frozen=True)
class Judged:
    """What all metrics said of all methods in all cases.

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


def judged(study: Saliency, table: SampleTable, cases: Sequence[Case]) -> Judged:
    """The sweep's table, case by case in the order in which they were drawn."""
    place = {}
    for sample_id in table.ids:
        for row, number in enumerate(table.tables[sample_id]["number"].tolist()):
            place[number] = (sample_id, row)
    ordered = [place[n] for n in range(len(cases))]

    def stacked(key: str) -> np.ndarray:
        return np.stack([table.tables[sample_id][key][row] for sample_id, row in ordered])

    metrics = measures(study.measures())
    curves, at = {}, {}
    for m, name in enumerate(metrics):
        points = [table.tables[sample_id][f"at-{m}"][row] for sample_id, row in ordered]
        at[name] = max(points, key=len)
        if len(at[name]):  # cases in which the metric was not taken have no curve
            rows = [table.tables[sample_id][f"curve-{m}"][row] for sample_id, row in ordered]
            curves[name] = np.stack([_widened(one, len(at[name])) for one in rows])
    shown = ordered[: study.gallery]
    return Judged(
        tuple(cases),
        choice_labels(study.methods()),
        metrics,
        stacked("values"),
        stacked("seconds"),
        stacked("passes"),
        curves,
        at,
        stacked("chance"),
        [table.tables[sample_id]["maps"][row] for sample_id, row in shown],
        [table.tables[sample_id]["image"] for sample_id, _ in shown],
        [table.tables[sample_id]["region"][row] for sample_id, row in shown],
    )


def measures(entries: Sequence[str | dict[str, Any]]) -> dict[str, Metric]:
    """Metrics by label."""
    from conceptseg.catalogue import parse

    return dict(zip(choice_labels(entries), (parse("metrics", e) for e in entries), strict=True))


def _measure(metric: Metric, trial: Trial, sanity: bool) -> Measured:
    """What a metric says, or nan where it has nothing to go by."""
    if (metric.explains_again and not sanity) or (metric.needs_context and trial.context is None):
        return Measured(trial.attributions.new_full((len(trial.scene),), float("nan")))
    return metric.measure(trial)


def _chance(region: np.ndarray, known: np.ndarray | None) -> float:
    """Share of the pixels outside of a region that known context covers: CBL by chance."""
    if known is None or region.all():
        return float("nan")
    return float(known[~region].mean())


def _curve(measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """A curve's values and where they were taken; both empty without one."""
    if measured.curve is None:
        return np.zeros(0), np.zeros(0)
    return measured.curve[0].double().cpu().numpy(), np.asarray(measured.at, dtype=np.float64)


def _curves(told: Sequence[Sequence[Measured]]) -> dict[str, np.ndarray]:
    """Each metric's curves of all methods, and where they were taken."""
    arrays = {}
    for m, column in enumerate(zip(*told, strict=True)):
        curves = [_curve(one) for one in column]
        arrays[f"curve-{m}"] = _padded([values for values, _ in curves])
        arrays[f"at-{m}"] = max((at for _, at in curves), key=len)
    return arrays


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Curves of the methods [methods, points]; nan where a metric had nothing to go by."""
    length = max(map(len, rows), default=0)
    return np.stack([_widened(row[None], length)[0] for row in rows])


def _widened(rows: np.ndarray, length: int) -> np.ndarray:
    """Curves [methods, points]: themselves, or nan where they have no point at all."""
    return rows if rows.shape[1] == length else np.full((len(rows), length), np.nan)


def _guess(method: Explainer) -> float:
    """About how many passes a method takes, by the count it is given."""
    counts = ("masks", "samples", "coalitions", "steps", "channels")
    named = [getattr(method, name) for name in counts if getattr(method, name, None)]
    return max([3.0, *map(float, named)])


def _made(method: Explainer, scene: Scene, target: Target) -> tuple[torch.Tensor, float, list[int]]:
    """A method's maps [1, h, w] in a scene of its own, its seconds, and its passes by kind."""
    _wait(scene.images.device)
    started = time.perf_counter()
    maps = method.on(scene, [target])[0]
    _wait(scene.images.device)
    seconds = time.perf_counter() - started
    return maps, seconds, [scene.passes.get(kind, 0) for kind in PASSES]


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)

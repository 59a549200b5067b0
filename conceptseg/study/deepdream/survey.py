"""First sweep: where each class is predicted, what it looks like there, what it is taken for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn, sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.label_map import label_map
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.descriptors import NAMES, describe
from conceptseg.study.shared.studied import sampling_of


@dataclass(frozen=True)
class Route:
    """A kind of path: `source` is the class of the region at the start (-1: not `target`),
    `target` the class whose log-odds are moved, up or (`vanish`, from itself) down.
    """

    kind: str
    source: int
    target: int
    name: str = field(compare=False)

    @classmethod
    def of(cls, kind: str, source: int, target: int, classes: Sequence[str]) -> "Route":
        """With its name in words."""
        names = {
            "appear": f"{classes[target]} appears",
            "become": f"{classes[source]} becomes {classes[target]}",
            "vanish": f"{classes[target]} vanishes",
        }
        return cls(kind, source, target, names[kind])


@dataclass(frozen=True)
class Survey:
    """What is known before any path.

    The ids of the `starts` of each route; `predictions` int [h, w] by sample; `holders`,
    the samples with a large enough region of each class, by hash; `natural` [r, m] descriptors by
    class; `sampling`, what the images count as; `skipped`, the routes without starts, and why.
    """

    starts: Mapping[Route, tuple[str, ...]]
    predictions: Mapping[str, np.ndarray]
    holders: Mapping[int, list[str]]
    natural: Mapping[int, np.ndarray]
    sampling: Sampling
    skipped: tuple[dict[str, str], ...]

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(self.starts)


IMAGES = Key("images", SampleTable)
SURVEY = Key("survey", Survey)


@dataclass(frozen=True)
class Look(Pass):
    """One forward per image."""

    study: DeepDream

    name = "survey"
    cost = "1 forward per image"
    labels = "none"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        manifest = context.manifest
        return manifest.named(drawn(context.seed, manifest.ids, self.study.survey_images))

    def forwards(self, context: Context) -> float:
        return float(min(self.study.survey_images, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        with torch.no_grad():
            logits = context.model(batch.images)
        prediction = label_map(logits).cpu().numpy()
        k, back = logits.shape[1], background(context)
        least = self.study.min_region_fraction * prediction[0].size
        capacity = max(self.study.references, self.study.starts)
        table = SampleTable.empty(capacity)
        for i, sample_id in enumerate(batch.ids):
            area = np.bincount(prediction[i].ravel(), minlength=k)
            held = [c for c in class_ids(context) if area[c] >= least]
            lacks = [k + c for c in class_ids(context) if area[c] == 0]
            image = batch.images[i].float().cpu().numpy()
            rivals, rows = np.zeros((len(held), k)), np.zeros((len(held), len(NAMES)))
            for row, c in enumerate(held):
                mask = prediction[i] == c
                inside = torch.from_numpy(mask).to(logits.device)
                rivals[row] = logits[i][:, inside].float().mean(1).cpu().numpy()
                rows[row] = describe(image, mask, prediction[i], c, back)
            one = {
                "held": np.array(held, dtype=np.int64),
                "rivals": rivals,
                "natural": rows,
                "prediction": prediction[i].astype(np.uint8 if k <= 256 else np.int32),
            }
            priority = sample_priority(context.seed, sample_id)
            table = table.merge(
                SampleTable.of(
                    sample_id, one, priority=priority, classes=[*held, *lacks], capacity=capacity
                )
            )
        return IMAGES(table)


def choose_paths(study: DeepDream, context: Context, known: Known) -> Known:
    """Which paths are taken, and the images from which each starts."""
    table = known[IMAGES]
    ids = sorted(table.ids, key=lambda name: (table.priority[name], name))
    holders = {
        c: [name for name in ids if c in table.tables[name]["held"]] for c in class_ids(context)
    }
    chosen = chosen_classes(study, context, holders)
    starts, skipped = {}, []
    for route in _routes(study, context, table, holders, chosen):
        pool = holders[route.source if route.kind != "appear" else route.target]
        if route.kind == "appear" and pool:
            lacks = len(context.model.classes) + route.target
            pool = [name for name in ids if lacks in table.classes[name]]
        if len(pool) < 2:
            reason = f"only {len(pool)} images to start from"
            skipped.append({"path": route.name, "reason": reason})
        else:
            starts[route] = tuple(pool[: study.starts])
    if not starts:
        raise InputError(
            "paths: no path has two images to start from; widen data.classes or lower "
            f"min_region_fraction ({study.min_region_fraction:g})"
        )
    natural = {
        c: np.stack([_row(table, name, c, "natural") for name in names[: study.references]])
        for c, names in holders.items()
        if names
    }
    predictions = {name: table.tables[name]["prediction"] for name in ids}
    sampling = sampling_of(context, ids, study.unit, context.seed)
    return SURVEY(Survey(starts, predictions, holders, natural, sampling, tuple(skipped)))


def _routes(
    study: DeepDream,
    context: Context,
    table: SampleTable,
    holders: Mapping[int, list[str]],
    chosen: Sequence[int],
) -> list[Route]:
    routes, classes = [], context.model.classes
    for c in chosen:
        if "appear" in study.paths:
            routes.append(Route.of("appear", -1, c, classes))
        if "become" in study.paths and not study.pairs:
            source = _rival(table, holders, c)
            routes += [] if source is None else [Route.of("become", source, c, classes)]
        if "vanish" in study.paths:
            routes.append(Route.of("vanish", c, c, classes))
    if "become" in study.paths:
        routes += given_pairs(study, context)
    return list(dict.fromkeys(routes))


def given_pairs(study: DeepDream, context: Context) -> list[Route]:
    """The paths between the classes of `pairs`; refuses by InputError where there can be none."""
    routes = []
    for first, last in study.pairs:
        a, b = context.model.class_id(first), context.model.class_id(last)
        if a == b or a == background(context):
            raise InputError(
                f"pairs: [{first}, {last}] needs two classes, the first not the background"
            )
        routes.append(Route.of("become", a, b, context.model.classes))
    return routes


def _row(table: SampleTable, name: str, c: int, column: str) -> np.ndarray:
    """Of an image that holds class c, the row of the class."""
    one = table.tables[name]
    return np.asarray(one[column][int(np.flatnonzero(one["held"] == c)[0])])


def _rival(table: SampleTable, holders: Mapping[int, list[str]], c: int) -> int | None:
    """The other class in whose regions c's logit comes nearest to the winner's, on average."""
    gaps = {}
    for other, names in holders.items():
        if other != c and len(names) >= 2:
            logits = [_row(table, name, other, "rivals") for name in names]
            gaps[other] = float(np.mean([row[c] - row[other] for row in logits]))
    return max(gaps, key=gaps.__getitem__, default=None)


def background(context: Context) -> int | None:
    name = context.manifest.background
    return context.model.classes.index(name) if name in context.model.classes else None


def class_ids(context: Context) -> list[int]:
    """All classes but the background."""
    back = background(context)
    return [c for c in range(len(context.model.classes)) if c != back]


def chosen_classes(
    study: DeepDream, context: Context, holders: Mapping[int, Sequence[str]]
) -> list[int]:
    """The classes whose paths are taken: those asked for, or the most frequent."""
    if study.data.classes:
        return [context.model.class_id(name) for name in study.data.classes]
    ranked = sorted(holders, key=lambda c: (-len(holders[c]), c))
    return sorted(c for c in ranked[: study.classes_at_most] if holders[c])

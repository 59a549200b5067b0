"""Pass 1: which images show which classes, and how their regions look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.looks import looks, octaves
from conceptseg.network.label_map import class_areas, label_map
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.counterfactual.config import Counterfactual

CONTEXT = "the known context"
CONTEXT_ID = -1
LOOKS = Key("looks", SampleTable)
"""Of each image a row for each region: `class` (-1: the known context), `looks` [q], and `where`
[16, 16], the share of each cell that it covers; and `explained`, the classes that it shows largely
enough to be turned into others."""
CELLS = 16
COVERED = 0.75
"""Share of a region that a donor's has to cover."""
FEWEST = 8
"""Regions of a name below which all regions say how it may look."""


@dataclass(frozen=True)
class Plan:
    """The cases (image, from, to; -1: any), how regions of a class may look, [2, q] each, by class;
    and of the regions that show it the looks [n, q], the images, and `where` [n, 16, 16]."""

    cases: tuple[tuple[str, int, int], ...]
    limits: dict[int, np.ndarray]
    real: dict[int, np.ndarray]
    ids: dict[int, tuple[str, ...]]
    where: dict[int, np.ndarray]


PLAN = Key("counterfactual plan", Plan)


def regions(
    study: Counterfactual, context: Context, name: str, predicted: Tensor, first: int | None = None
) -> dict[int, Tensor]:
    """The regions [h, w] of an image by class, `first` first, then the largest; -1 is the known
    context outside of that class's region. All other pixels are in none."""
    known = context.manifest.context(context.manifest.sample(name))
    around = None if known is None else torch.from_numpy(known).to(predicted.device)
    found = dict[int, Tensor]()
    if first is not None:
        found[first] = predicted == first
    rest = torch.ones_like(predicted, dtype=torch.bool) if first is None else ~found[first]
    if around is not None:
        background = context.manifest.background
        ground = (
            context.model.classes.index(background) if background in context.model.classes else None
        )
        own = around & (predicted == ground if ground is not None else rest) & rest
        if bool(own.any()):
            found[CONTEXT_ID] = own
            rest = rest & ~own
    least = study.min_region_fraction * predicted.numel()
    classes, counts = predicted[rest].unique(return_counts=True)
    ranked = sorted(zip(counts.tolist(), classes.tolist(), strict=True), reverse=True)
    for count, c in ranked:
        if count >= least and c not in found and len(found) < study.regions:
            found[c] = rest & (predicted == c)
    return found


def named(context: Context, c: int) -> str:
    return CONTEXT if c == CONTEXT_ID else context.model.classes[c]


@dataclass(frozen=True)
class Survey(Pass):
    """The predicted regions of each image, and their looks."""

    study: Counterfactual

    name = "survey"
    cost = "1 forward per image"
    keeps = True

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, table = self.study, SampleTable.empty(self.study.reference)
        with torch.no_grad():
            logits = context.model(batch.images)
        wanted = sorted({was for was, _ in pairs(study, context)})
        every = label_map(logits)
        areas = class_areas(every, logits.shape[1])
        least = study.min_region_fraction * logits[0, 0].numel()
        for i, name in enumerate(batch.ids):
            predicted, image = every[i], batch.images[i : i + 1].float()
            shown = regions(study, context, name, predicted)
            bands = octaves(image)
            rows = [looks(image, bands, mask) for mask in shown.values()]
            width = image.shape[1] + len(bands)
            row = SampleTable.of(
                name,
                {
                    "class": np.array(list(shown), np.int64),
                    "looks": np.array(rows, np.float64).reshape(len(rows), width),
                    "where": np.array(
                        [coarse(mask) for mask in shown.values()], np.float32
                    ).reshape(len(rows), CELLS, CELLS),
                    "explained": np.array([c for c in wanted if areas[i, c] >= least], np.int64),
                },
                priority=sample_priority(context.seed, name),
                classes=set(shown),
                capacity=study.reference,
            )
            table = table.merge(row)
        return LOOKS(table)


def pairs(study: Counterfactual, context: Context) -> list[tuple[int, int]]:
    """From which class to which, -1 for any other."""
    if study.pairs:
        ids = [(context.model.class_id(a), context.model.class_id(b)) for a, b in study.pairs]
        for (was, to), names in zip(ids, study.pairs, strict=True):
            if was == to:
                raise InputError(f"pairs: {names[0]!r} is given with itself; give two classes")
        return list(dict.fromkeys(ids))
    return [(c, -1) for c in study.class_ids(context)]


def choose(study: Counterfactual, context: Context, known: Known) -> Known:
    """The images of each pair, and how regions may look: between the 1st and 99th percentile.

    Raises InputError where no image shows any of the classes.
    """
    table, asked = known[LOOKS], pairs(study, context)
    held = {name: set(table.tables[name]["explained"].tolist()) for name in table.ids}
    ranked = sorted(held, key=lambda name: (table.priority[name], name))
    often = {was: sum(was in own for own in held.values()) for was, _ in asked}
    if not any(often.values()):
        names = ", ".join(context.model.classes[c] for c in often)
        raise InputError(
            f"{context.manifest.where}: none of the {len(context.manifest.samples)} images is "
            f"predicted to hold {names} on {study.min_region_fraction:.2%} of it or more; lower "
            "min_region_fraction, choose other classes, or check model.preprocessing"
        )
    if not study.pairs and not study.data.classes:
        kept = sorted(often, key=lambda c: (-often[c], c))[: study.classes_at_most]
        asked = [(was, to) for was, to in asked if was in kept]
    cases = [
        (name, was, to)
        for was, to in asked
        for name in [one for one in ranked if was in held[one]][: study.images]
    ]
    column, every = table.column("class"), table.column("looks")
    classes, owner = np.unique(column).tolist(), table.owner("class")
    real = {c: every[column == c] for c in classes}
    ids = {c: tuple(table.ids[i] for i in owner[column == c].tolist()) for c in classes}
    where = {c: table.column("where")[column == c] for c in classes}
    return PLAN(Plan(tuple(cases), limits_of(real, every), real, ids, where))


def coarse(mask: Tensor) -> np.ndarray:
    """The share of each of 16 x 16 cells that a mask [h, w] covers."""
    cells = functional.adaptive_avg_pool2d(mask[None, None].float(), (CELLS, CELLS))
    return np.asarray(cells[0, 0].cpu().numpy())


def donors(plan: Plan, c: int, name: str, mask: Tensor, count: int) -> list[str]:
    """Images whose region of a class covers most of a mask [h, w], and that look unlike.

    Each next one is the farthest, by its looks in deviations of all, from the image's own and those
    that were taken: donors that look alike would be one donor.
    """
    own, places = coarse(mask), plan.where.get(c, np.empty((0, CELLS, CELLS)))
    covered = (np.minimum(places, own).sum((1, 2))) / max(float(own.sum()), 1e-9)
    ids, looked = plan.ids.get(c, ()), plan.real.get(c, np.empty((0, 1)))
    able = [i for i in np.flatnonzero(covered >= COVERED).tolist() if ids[i] != name]
    spread = looked.std(0) if len(looked) else np.ones(1)
    apart = looked / np.where(spread > 0, spread, 1.0)
    near = [i for i, one in enumerate(ids) if one == name]
    taken = list[int]()
    while able and len(taken) < count:
        to = apart[near + taken] if near + taken else apart.mean(0, keepdims=True)
        far = [float(np.linalg.norm(to - apart[i], axis=1).min()) for i in able]
        taken.append(able.pop(int(np.argmax(far))))
    return [ids[i] for i in taken]


def limits_of(real: Mapping[int, np.ndarray], every: np.ndarray) -> dict[int, np.ndarray]:
    """1st and 99th percentiles of looks [n, q] by class; of all where a class has few regions."""
    return {
        c: np.quantile(own if len(own) >= FEWEST else every, [0.01, 0.99], axis=0)
        for c, own in real.items()
    }


def explained(cases: Sequence[tuple[str, int, int]]) -> list[tuple[str, int]]:
    """The image and class of each case."""
    return [(name, was) for name, was, _ in cases]

"""The lines that support: what a region loses when it is seen alone, how far around it has to be
seen, and where relevance lies, beyond that of a network that has learnt nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers.grid_saliency import GridSaliency
from conceptseg.explain.explainers.misure import MiSuRe
from conceptseg.explain.methods import explainers, failing
from conceptseg.explain.regions import Labelled
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from conceptseg.network.shuffle import shuffled
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.kept import Kept
from conceptseg.study.audit.margins import MARGINS
from conceptseg.study.audit.places import places
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.survey import HOLDINGS, PLAN, arms
from conceptseg.study.audit.swap import SWAPPED

LOOKED = Key("looked", SampleTable)
LOOKS: Key[dict[int, tuple[str, ...]]] = Key("looks", dict)
"""The images of each class on which all lines are made."""
BESIDE: Key[dict[int, tuple[str, ...]]] = Key("beside", dict)
"""Further ones, on which relevance alone is."""
TWIN = Key("twin", SegmentationModel)
ALONE, RADIUS = GridSaliency(), MiSuRe(steps=0, colours=(0.5,))
FOUND = 0.5
"""Part of a region that has to be predicted right, for there to be something to lose."""
LINES = ("alone", "radius", "attribution")
"""The last is the one that is made beside context, too."""


def choose_looks(study: Audit, context: Context, known: Known) -> Known:
    """The first images of each class in which it is found, and the first that hold a context.

    A class that needs a context's absence is lost where that is: there its relevance has to be
    looked at, found or not.
    """
    tables, held = known[SWAPPED].tables, known[HOLDINGS]
    place = {name: row for row, name in enumerate(held.ids)}
    chosen: dict[int, tuple[str, ...]] = {}
    beside: dict[int, tuple[str, ...]] = {}
    for c, ids in known[PLAN].recipients.items():
        found = [
            name
            for name in ids
            if tables[name]["scores"][tables[name]["class"] == c][0, 1] >= FOUND
        ]
        chosen[c] = tuple(found[: study.look_images])
        holding = list[str]()
        for q in known[PLAN].contexts[c]:
            there = arms(study, held, q, known[CONTEXTS][q])[0]
            holding += [name for name in ids if there[place[name]]][: study.look_images]
        beside[c] = tuple(name for name in dict.fromkeys(holding) if name not in chosen[c])
    return LOOKS(chosen) | BESIDE(beside)


@dataclass(frozen=True)
class Look(Pass):
    """What supports, on a few images of each class.

    Of each image and class: `alone`, the probability that the region loses when all else is hidden
    (:meth:`GridSaliency.alone`); `radius`, the pixels around it that have to be seen for its
    prediction to stay (:class:`MiSuRe`); `on` [q], the share of the absolute relevance that lies on
    each located context beyond the margin, less that of a twin of shuffled weights; nan where there
    is none. `failed` [3] says why one of the `LINES` cannot be made.
    """

    study: Audit

    name = "look"
    cost = "about 26 forward and 2 backward passes for each class and image, of few images"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        every = (*known[LOOKS].values(), *known[BESIDE].values())
        return context.manifest.named({one for ids in every for one in ids})

    def forwards(self, context: Context) -> float:
        return 30.0 * self.study.look_images * len(self.study.class_ids(context))

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield TWIN(shuffled(context.model, context.seed))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        assert batch.labels is not None
        lying = places(context, batch, known)
        attribution = explainers((self.study.attribution,), context.single)
        found: list[list[_Row]] = [[] for _ in batch.ids]
        asked: list[tuple[int, tuple[str, ...], tuple[str, ...]]]
        asked = [(c, ids, LINES) for c, ids in known[LOOKS].items()]
        asked += [(c, ids, LINES[-1:]) for c, ids in known[BESIDE].items()]
        for c, ids, lines in asked:
            if rows := [i for i, name in enumerate(batch.ids) if name in ids]:
                scenes = [
                    Scene(model, batch.images[rows], batch.labels[rows], batch_size=len(rows))
                    for model in (context.model, known[TWIN])
                ]
                for method in attribution.values():
                    made = _rows(scenes, Target(c, Labelled(c)), method, lines)
                for i, row in zip(rows, made, strict=True):
                    found[i].append(row)
        table = SampleTable.empty()
        for i, own in enumerate(found):
            labels = batch.labels[i]
            on = np.full((len(own), len(lying[i])), np.nan)
            for line, one in zip(on, own, strict=True):
                zones: dict[float, Tensor] = {}
                for q, where in enumerate(lying[i]):
                    if where is not None and one.maps is not None:
                        margin = known[MARGINS].get((one.class_id, q), known[MARGIN])
                        if margin not in zones:
                            kept = Kept.of(labels, one.class_id, margin, self.study.feather_px)
                            zones[margin] = kept.zone
                        line[q] = _excess(one.maps, where, zones[margin])
            columns: dict[str, np.ndarray] = {
                "class": np.array([one.class_id for one in own]),
                "alone": np.array([one.alone for one in own]),
                "radius": np.array([one.radius for one in own]),
                "on": on,
                "failed": np.array([one.failed for one in own], np.str_),
            }
            table = table.merge(SampleTable.of(batch.ids[i], columns))
        return LOOKED(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state.get(LOOKED, SampleTable.empty())
        rows: dict[tuple[str, str], dict[str, str]] = {}
        for name in table.ids:
            for each in table.tables[name]["failed"].tolist():
                for line, reason in zip(LINES, each, strict=True):
                    if reason:  # the first image tells as much as all
                        row = {"kind": "method", "method": line, "sample": name, "reason": reason}
                        rows.setdefault((line, reason), row)
        return LOOKED(table) | left_out(self.name)(tuple(rows.values()))


@dataclass(frozen=True)
class _Row:
    """A class in an image; `maps` are those of the network and of its twin, [h, w] each."""

    class_id: int
    alone: float = float("nan")
    radius: float = float("nan")
    maps: tuple[Tensor, Tensor] | None = None
    failed: tuple[str, str, str] = ("", "", "")


def _rows(
    scenes: Sequence[Scene], target: Target, method: Explainer, lines: Sequence[str]
) -> list[_Row]:
    """The row of a class for each image of a scene, of which all are explained together."""
    scene, twin = scenes
    rows = [_Row(target.class_id)] * len(scene)
    for line in lines:
        try:
            if line == "alone":
                values = ALONE.alone(scene, target).tolist()
            elif line == "radius":
                values = RADIUS.solve(scene, target).radius.tolist()
            else:
                maps = [method.on(one, [target])[0] for one in (scene, twin)]
                values = list(zip(*maps, strict=True))
        except Exception as error:
            if (reason := failing(error)) is None:
                raise
            old = zip(LINES, rows[0].failed, strict=True)
            said = tuple(reason if name == line else before for name, before in old)
            rows = [replace(row, failed=said) for row in rows]  # type: ignore[arg-type]
            continue
        name = "maps" if line == "attribution" else line
        rows = [replace(row, **{name: one}) for row, one in zip(rows, values, strict=True)]
    return rows


def _excess(maps: tuple[Tensor, Tensor], where: np.ndarray, zone: Tensor) -> float:
    """The share of a map's absolute mass that lies on a context beyond the margin, less that of the
    twin's map; nan where that cannot be told."""
    here = torch.from_numpy(where).to(zone.device) & ~zone
    mass = [one.abs().double() for one in maps]
    if not (bool(here.any()) and all(bool(one.sum() > 0) for one in mass)):
        return float("nan")
    own, twin = (float(one[here].sum() / one.sum()) for one in mass)
    return own - twin

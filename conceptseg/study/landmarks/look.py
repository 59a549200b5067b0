"""Pass 1: the landmarks of each image, each explained alone and measured."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.explain.contract import Explainer
from conceptseg.explain.methods import attempted, explainers
from conceptseg.explain.regions import UserMask
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import overlay, shared_limit
from conceptseg.stats.intervals import Floats
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.landmarks.config import KINDS, Landmarks
from conceptseg.study.landmarks.follow import anisotropy, reaches
from conceptseg.study.landmarks.skeleton import Graph, Node, graph
from conceptseg.study.shared import compare
from conceptseg.study.shared.packed import packed, unpacked
from conceptseg.study.shared.sweep import One, Sweep

MARKS = Key("marks", SampleTable)
"""Of each image, a row for each landmark: `class`, `kind` (a place in `KINDS`), `place` [2] (y, x),
`thickness` in px, `anisotropy` and the `share` of angles that reach it, `reaches` [RADII]; and
`failed`, why the method could not explain the image."""
METHOD: Key[dict[str, Explainer]] = Key("landmarks' method", dict)
SHOWN: Key[tuple[tuple[str, int], ...]] = Key("landmarks shown", tuple)
"""Landmarks that are drawn: their image, and their row among its landmarks."""
PICTURED = Key("landmarks pictured", SampleTable)
DRAWN: Key[dict[tuple[str, int], bytes]] = Key("landmarks drawn", dict)
RADII = 5
"""Distances at which the reach is read: the window's half diagonal, doubled each time."""


@dataclass(frozen=True)
class Mark:
    """A landmark of a class in an image, and the class's region there, bool [h, w]."""

    class_id: int
    node: Node
    region: np.ndarray

    @property
    def kind(self) -> int:
        return min(self.node.degree, len(KINDS)) - 1


def radii(study: Landmarks) -> Floats:
    """Distances in px."""
    return np.sqrt(2) * (study.window_px + 0.5) * 2.0 ** np.arange(RADII)


def passes_of(study: Landmarks, context: Context) -> float:
    """About how many passes the map of a landmark takes."""
    return sum(compare.passes_of(context, (study.method,)).values())


def marks_of(study: Landmarks, regions: np.ndarray, classes: Sequence[int], key: str) -> list[Mark]:
    """`each` landmarks of each kind of a map of classes [h, w], by hash of `key` and place."""
    shorter, found = min(regions.shape), list[Mark]()
    for c in classes:
        own: Graph = graph(regions == c, study.thickest * shorter, study.slender)
        every = [Mark(c, node, regions == c) for node in own.nodes]
        for kind in range(len(KINDS)):
            ranked = [one for one in every if one.kind == kind]
            ranked.sort(key=lambda one: sample_priority(0, f"{key} {one.node.y} {one.node.x}"))
            found += ranked[: study.each]
    return found


def window(study: Landmarks, mark: Mark) -> np.ndarray:
    """The pixels that are explained: the structure's in a square around the landmark."""
    y, x, half = mark.node.y, mark.node.x, study.window_px
    square = np.zeros(mark.region.shape, bool)
    square[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = True
    return square & mark.region


def explained(
    study: Landmarks, context: Context, one: One, known: Known
) -> tuple[list[Mark], np.ndarray, str | None]:
    """The landmarks of an image, their maps [m, h, w], and why there are none of these."""
    scene = Scene(context.model, one.image, batch_size=context.run.batch_size)
    regions = label_map(scene.logits)[0].cpu().numpy()
    if study.regions == "labelled":
        regions = np.full_like(regions, -1) if one.labels is None else one.labels.cpu().numpy()
    marks = marks_of(study, regions, study.class_ids(context), one.id)
    if not marks:
        return [], np.empty((0, *regions.shape)), None
    targets = [
        Target(mark.class_id, UserMask(torch.from_numpy(window(study, mark)))) for mark in marks
    ]
    (method,) = known[METHOD].values()
    maps, failed = attempted(method, scene, targets)
    return marks, maps[:, 0].double().cpu().numpy(), failed


@dataclass(frozen=True)
class Look(Pass):
    """Each landmark's map, measured and forgotten."""

    study: Landmarks

    name = "look"
    cost = "1 forward per image, and the method's own passes for each landmark"
    labels = "optional"

    def forwards(self, context: Context) -> float:
        """With four landmarks of a class in an image."""
        each = 4.0 * passes_of(self.study, context) * len(self.study.class_ids(context))
        return len(context.manifest.samples) * (1 + each)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield METHOD(explainers((self.study.method,), context.single))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, table = self.study, SampleTable.empty(self.study.images)
        for i, name in enumerate(batch.ids):
            labels = None if batch.labels is None else batch.labels[i]
            one = One(name, batch.images[i : i + 1], labels)
            marks, maps, failed = explained(study, context, one, known)
            if not marks:
                continue
            row = SampleTable.of(
                name,
                {**measured(study, marks, maps), "failed": np.array([failed or ""], np.str_)},
                priority=sample_priority(context.seed, name),
                classes={mark.class_id for mark in marks},
                capacity=study.images,
            )
            table = table.merge(row)
        return MARKS(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state.get(MARKS, SampleTable.empty(self.study.images))
        (label,) = known[METHOD]
        failed = [
            {"kind": "method", "method": label, "sample": name, "reason": str(own["failed"][0])}
            for name, own in sorted(table.tables.items())
            if own["failed"][0]
        ]
        return MARKS(table) | left_out(self.name)(tuple(failed))


def measured(study: Landmarks, marks: Sequence[Mark], maps: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of an image's landmarks, from their maps [m, h, w]."""
    from scipy.ndimage import binary_dilation

    inner = float(radii(study)[0])
    outer = max(study.reach * min(maps.shape[1:]), inner + 2)
    found, wide = [], np.ones((3, 3), bool)
    for mark, each in zip(marks, np.abs(maps), strict=True):
        y, x = mark.node.y, mark.node.x
        structure = mark.region
        if study.margin_px:
            structure = binary_dilation(structure, wide, iterations=study.margin_px)
        along = anisotropy(each, structure, y, x, inner, outer, study.turns)
        found.append((*along, *reaches(each, y, x, radii(study))))
    numbers = np.array(found)
    return {
        "class": np.array([one.class_id for one in marks], np.int64),
        "kind": np.array([one.kind for one in marks], np.int64),
        "place": np.array([(one.node.y, one.node.x) for one in marks], np.int32),
        "thickness": np.array([one.node.thickness for one in marks], np.float64),
        "anisotropy": numbers[:, 0],
        "share": numbers[:, 1],
        "reaches": numbers[:, 2:],
    }


@dataclass(frozen=True)
class Pictures(Sweep):
    """The maps of a few landmarks, with the structure's outline."""

    study: Landmarks

    name = "pictures"
    cost = "the method's own passes, on the images that are shown"
    labels = "optional"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        return {name for name, _ in known[SHOWN]}

    def forwards(self, context: Context) -> float:
        each = 4.0 * passes_of(self.study, context)
        return each * self.study.gallery * len(self.study.class_ids(context))

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield METHOD(explainers((self.study.method,), context.single))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        marks, maps, _ = explained(self.study, context, one, known)
        image = one.image[0].float().cpu().numpy()
        return packed(
            (row, drawn(self.study, image, marks[row], maps[row]))
            for name, row in known[SHOWN]
            if name == one.id and row < len(marks)
        )

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(
            {
                (name, row): data
                for name, own in sorted(table.tables.items())
                for row, data in unpacked(own)
            }
        )


def drawn(study: Landmarks, image: np.ndarray, mark: Mark, values: np.ndarray) -> bytes:
    """A landmark's map over the image around it, as far as it is looked at and half as far again.

    The scale ends at the 98th percentile of what is shown.
    """
    shorter, (y, x) = min(values.shape), (mark.node.y, mark.node.x)
    half = max(12, round(1.5 * study.reach * shorter))
    rows = slice(max(0, y - half), y + half + 1)
    columns = slice(max(0, x - half), x + half + 1)
    part = values[rows, columns]
    limit = shared_limit([part], 0.98)
    return overlay(
        image[:, rows, columns],
        part,
        -limit,
        limit,
        mask=mark.region[rows, columns],
        side=study.picture_px,
    )

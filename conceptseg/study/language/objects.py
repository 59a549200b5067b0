"""Pass 1: every object of an image, what the layer holds of it, and its mask in its box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Recorder
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.language.config import CLASS, Language
from conceptseg.study.shared.attributes import of_objects
from conceptseg.study.shared.parts import Part, boxes, middles, parts, pooled
from conceptseg.study.shared.studied import sampling_of

OBJECTS = Key("spoken objects", SampleTable)
"""Of each image, a row for each object: `class`, `box` [4] (top, left, bottom, right), `area` and
`middle` [2] as parts of the image, `embedding` [u], and its `mask` in its box, [g, g] in [0, 1]."""
HELD_OUT = 0.4
"""Part of the groups on which languages are judged."""


@dataclass(frozen=True)
class Spoken:
    """All objects, [m]: `features` [m, d] standardised components of what the layer holds, `mask`
    [m, g g], and `attributes` by name, each the number of a value [m] with its `values`.

    `judging` [m] are those on which nothing is learnt; groups are never cut.
    """

    ids: tuple[str, ...]
    class_id: np.ndarray
    classes: tuple[int, ...]
    box: np.ndarray
    features: np.ndarray
    mask: np.ndarray
    attributes: dict[str, np.ndarray]
    values: dict[str, tuple[str, ...]]
    judging: np.ndarray
    sampling: Sampling

    @property
    def place_of_class(self) -> np.ndarray:
        """The number of each object's class among `classes`, [m]."""
        return np.searchsorted(self.classes, self.class_id)


SPOKEN = Key("spoken", Spoken)
COMPONENTS = 64


@dataclass(frozen=True)
class Describe(Pass):
    """One forward pass per image: its predicted objects."""

    study: Language

    name = "describe"
    keeps = True

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, classes = self.study, self.study.class_ids(context)
        with torch.no_grad(), Recorder(context.model, context.levels.names) as recorder:
            logits = recorder(batch.images)
        assert logits is not None
        activation = context.levels.joined(recorder.activations)
        predicted = label_map(logits).cpu().numpy()
        table = SampleTable.empty(study.images)
        for i, name in enumerate(batch.ids):
            found = parts(
                predicted[i], classes, study.per_image, study.min_share * predicted[i].size
            )
            if not found:
                continue
            row = SampleTable.of(
                name,
                described(found, activation[i], study.grid),
                priority=sample_priority(context.seed, name),
                classes={one.class_id for one in found},
                capacity=study.images,
            )
            table = table.merge(row)
        return OBJECTS(table)


def described(found: Sequence[Part], activation: torch.Tensor, grid: int) -> dict[str, np.ndarray]:
    """The rows of an image's objects, from the layer's activation [u, y, x]."""
    masks = [one.mask for one in found]
    box = boxes(masks)
    drawn = [
        shrunk(mask[top:bottom, left:right], grid)
        for mask, (top, left, bottom, right) in zip(masks, box.tolist(), strict=True)
    ]
    return {
        "class": np.array([one.class_id for one in found], np.int64),
        "box": box,
        "area": np.array([mask.mean() for mask in masks]),
        "middle": middles(masks),
        "embedding": pooled(masks, activation),
        "mask": np.stack(drawn),
    }


def shrunk(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask [h, w] on a grid [side, side]: the part of each cell that it covers."""
    given = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    found = torch.nn.functional.interpolate(given, (4 * side, 4 * side), mode="nearest")
    return np.asarray(torch.nn.functional.avg_pool2d(found, 4)[0, 0].numpy(), np.float32)


def list_objects(study: Language, context: Context, known: Known) -> Known:
    """The objects, their features and attributes, and which judge. Raises InputError for few."""
    table = known[OBJECTS]
    column = table.column("class") if table.ids else np.empty(0, np.int64)
    counts = {c: int((column == c).sum()) for c in np.unique(column).tolist()}
    # A class of a few objects cannot be learnt.
    classes = tuple(c for c, count in counts.items() if 10 * len(counts) * count >= len(column))
    kept = np.isin(column, classes)
    if kept.sum() < study.min_objects:
        raise InputError(
            f"{context.manifest.where}: {int(kept.sum())} objects are predicted, and a language "
            f"needs {study.min_objects}; give more images, or lower min_objects or min_share"
        )
    ids = [table.ids[i] for i in table.owner("class")[kept].tolist()]
    dealt = sampling_of(context, ids, study.unit, (context.seed, 71))
    judging = held_out(dealt.groups, context.seed)
    if judging.all() or not judging.any():
        raise InputError(
            f"{context.manifest.where}: all objects are of one {dealt.of.removesuffix('s')}, so "
            "none could judge a language that was not learnt on it; give more, or unit: image"
        )
    sampling = sampling_of(context, ids, study.unit, (context.seed, 71), judging=judging)
    attributes, values = _attributes(context, table, kept, ids)
    spoken = Spoken(
        tuple(ids),
        column[kept],
        classes,
        table.column("box")[kept],
        components(table.column("embedding")[kept].astype(np.float64), ~judging),
        table.column("mask")[kept].reshape(int(kept.sum()), -1),
        attributes,
        values,
        judging,
        sampling,
    )
    return SPOKEN(spoken)


def held_out(groups: tuple[str, ...], seed: int) -> np.ndarray:
    """Whether each object's group judges, [m]."""
    order = sorted(set(groups), key=lambda one: sample_priority(seed + 2, one))
    judges = set(order[: max(1, round(HELD_OUT * len(order)))]) if len(order) > 1 else set()
    return np.array([one in judges for one in groups], bool)


def components(rows: np.ndarray, learning: np.ndarray) -> np.ndarray:
    """Leading principal components [m, d] of units scaled to one deviation, whitened; all of it
    from the rows that learn."""
    own = rows[learning]
    spread = own.std(0)
    live = spread > 1e-9 * max(1.0, float(np.abs(own).max(initial=0)))
    scaled = (rows[:, live] - own[:, live].mean(0)) / spread[live]
    _, sizes, axes = np.linalg.svd(scaled[learning], full_matrices=False)
    kept = min(COMPONENTS, int((sizes > 1e-6 * max(sizes.max(initial=0), 1e-300)).sum()))
    points = scaled @ axes[:kept].T
    signs = np.sign(axes[np.arange(kept), np.abs(axes[:kept]).argmax(1)])
    # Of one common scale, so that what varies little stays little.
    return np.asarray(points * signs / max(float(points[learning].std()), 1e-12))


def _attributes(
    context: Context, table: SampleTable, kept: np.ndarray, ids: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Class, size and place in thirds, and the manifest's columns of values that repeat."""
    area, middle = (table.column(name)[kept] for name in ("area", "middle"))
    texts = of_objects(context.manifest, ids, area, middle)
    texts[CLASS] = [context.model.classes[c] for c in table.column("class")[kept].tolist()]
    attributes, values = dict[str, np.ndarray](), dict[str, tuple[str, ...]]()
    for name in sorted(texts, key=lambda one: (one != CLASS, one)):
        known, numbers = np.unique(texts[name], return_inverse=True)
        if len(known) > 1:
            attributes[name], values[name] = numbers, tuple(known.tolist())
    return attributes, values

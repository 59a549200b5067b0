"""The published conventions, each with its own threshold, resolution and measure, in one sweep.

===========  =======================================================================================
netdissect   The threshold is the 0.5 % quantile of the layer's own maps; maps are enlarged and then
             cut. A unit's area counts for a category only in images where some label of that
             category lies under its mask, as in the published light version's code, so that its
             union is too small there. Detector: IoU > 0.04.
dissect      The threshold is the 1 % quantile of maps already enlarged to the label's grid; union
             over all pixels, annotated or not. Detector: IoU > 0.04.
bioexp       The threshold is the 85th percentile at each position over at most 500 images; masks
             lose parts below 80 px and are dilated by 2 x 2; the mean over images that show the
             concept of the Dice coefficient. No rule for a detector is published: none is named.
===========  =======================================================================================

Here all three read labels on the grid that the study counts on, where the published code has its
own (half, a quarter and all of the image's side); `bioexp` scales its 80 px of a 240 x 240 image
with the grid. It follows the paper's description, its code was not run.

Source: Bau et al. 2017 (arXiv 1704.05796); Bau et al. 2020 (doi 10.1073/pnas.1907375117); Natekar
et al. 2020 (doi 10.3389/fncom.2020.00006).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.bins import CELLS, resized
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.measures import Overlaps
from conceptseg.study.dissect.pilot import PLAN, Plan, check_kept, observe
from conceptseg.study.dissect.vocabulary import Vocabulary

QUANTILE = {"netdissect": 0.005, "dissect": 0.01}
DETECTOR_IOU = 0.04
PERCENTILE = 85
STACK = 500
BLOCK = 64
LEAST_PART = 80 / (240 * 240)


STACKED = Key("stack", SampleTable)
LEVELS: Key[dict[str, np.ndarray]] = Key("levels", dict)
DICE = Key("bioexp", Moments)
PUBLISHED: Key[list[dict[str, Any]]] = Key("published", list)
HISTOGRAMS = {name: Key(f"level {name}", JointCounts) for name in QUANTILE}
"""Counts of values, which give a convention's thresholds."""
AREAS = {name: Key(name, JointCounts) for name in QUANTILE}
"""Pixels in common, of the concept and of the unit, [v, 3, l], by a convention that counts them."""


def levels(
    study: Dissect, context: Context, plan: Plan, ids: Sequence[str], maps: Tensor, slots: Tensor
) -> Known:
    """What the thresholds need, of maps [n, v, y, x]: fine histograms, and a stack of maps."""
    state = Known()
    for convention, size in (("netdissect", maps.shape[-2:]), ("dissect", slots.shape[-2:])):
        if convention in study.published:
            large = (int(size[0]), int(size[1]))
            counts = [
                _histogram(plan, resized(maps[:, own], large).transpose(0, 1).flatten(1), own)
                for own in _blocks(maps.shape[1])
            ]
            state |= HISTOGRAMS[convention](JointCounts(np.concatenate(counts)))
    if "bioexp" in study.published:
        check_kept(study, maps, min(STACK, len(plan.half)), "leave bioexp out of published")
        table = SampleTable.batch(
            ids,
            {"maps": maps.float().cpu().numpy()},
            priority=[sample_priority(context.seed, sample_id) for sample_id in ids],
            classes=[(0,)] * len(ids),
            capacity=STACK,
        )
        state |= STACKED(table)
    return state


def _blocks(units: int) -> list[slice]:
    """Units a block at a time: enlarged maps of all would not fit for wide layers."""
    return [slice(first, first + BLOCK) for first in range(0, units, BLOCK)]


def _histogram(plan: Plan, values: Tensor, own: slice) -> np.ndarray:
    """Counts [v, CELLS, 1] by cell of a block of units' values [v, m]."""
    cell = (values.cpu().numpy() - plan.bins.low[own, None]) * plan.bins.scale[own, None]
    cell = np.clip(cell, 0, CELLS - 1).astype(np.int64)
    return np.stack([np.bincount(row, minlength=CELLS) for row in cell])[:, :, None]


def threshold(plan: Plan, counts: np.ndarray, quantile: float) -> np.ndarray:
    """The lowest cell's edge with at most that share of the mass above, [v], from [v, CELLS]."""
    above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] / counts.sum(1, keepdims=True)
    edge = np.argmax(above <= quantile, axis=1)
    edge = np.where((above <= quantile).any(1), edge, CELLS - 1)
    return np.asarray(plan.bins.low + edge / plan.bins.scale.astype(np.float64))


def check_sizes(sizes: set[tuple[int, ...]]) -> None:
    """Raises InputError for images or maps of several sizes: no positions are common to all."""
    if len(sizes) > 1:
        raise InputError(
            "published: 'bioexp' takes a percentile at each position, and the images are of "
            "several sizes; set model.preprocessing.size or leave it out"
        )


def position_threshold(table: SampleTable) -> np.ndarray:
    """The 85th percentile at each position, [v, y, x]. Raises InputError: :func:`check_sizes`."""
    check_sizes({one["maps"].shape for one in table.tables.values()})
    return np.asarray(np.percentile(table.column("maps"), PERCENTILE, axis=0))


def find_levels(study: Dissect, context: Context, known: Known) -> Known:
    """Each convention's thresholds, [v] or [v, y, x]."""
    cuts: dict[str, np.ndarray] = {}
    for convention in study.published:
        if convention == "bioexp":
            cuts[convention] = position_threshold(known[STACKED])
        else:
            counts = _counts(known, HISTOGRAMS[convention])[:, :, 0]
            cuts[convention] = threshold(known[PLAN], counts, QUANTILE[convention])
    return LEVELS(cuts)


@dataclass(frozen=True)
class Published(Pass):
    """Masks at the published thresholds, which the sweep before has measured."""

    study: Dissect

    name = "published"
    labels = "optional"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        plan, state = known[PLAN], Known()
        maps, slots = observe(context, batch, known, self.study.label_px)
        grid = (int(slots.shape[-2]), int(slots.shape[-1]))
        shown = slots.flatten(2).cpu().numpy()
        for convention in self.study.published:
            cut = known[LEVELS][convention]
            parts = [
                _masks(convention, resized(maps[:, own], grid), cut[own], grid)
                for own in _blocks(maps.shape[1])
            ]
            on = np.concatenate(parts, axis=1)
            for i in range(len(batch)):
                state = state.merge(counted(convention, plan.vocabulary, on[i], shown[:, i]))
        return state


def count_published(study: Dissect, context: Context, known: Known) -> Known:
    """A row for each convention and unit: the concept that scores best, and whether it counts."""
    plan = known[PLAN]
    rows: list[dict[str, Any]] = []
    for convention in study.published:
        dice = convention == "bioexp"
        score = scores(convention, known, plan.vocabulary)
        best = np.nanargmax(score, axis=1)
        for unit, place, own in zip(plan.alive, best.tolist(), score, strict=True):
            rows.append(
                {
                    "convention": convention,
                    "unit": unit,
                    "label": plan.vocabulary.names[place],
                    "score": float(own[place]),
                    "measure": "Dice" if dice else "IoU",
                    "detector": None if dice else bool(own[place] > DETECTOR_IOU),
                }
            )
    return PUBLISHED(rows)


def _masks(convention: str, maps: Tensor, cut: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Where units are active, bool [n, v, m], of maps [n, v, *grid]."""
    if convention != "bioexp":
        return (maps > torch.from_numpy(cut).to(maps)[:, None, None]).flatten(2).cpu().numpy()
    level = resized(torch.from_numpy(cut).to(maps)[None], grid)
    on: np.ndarray = (maps > level).cpu().numpy()
    return np.stack([[cleaned(mask) for mask in image] for image in on]).reshape(*on.shape[:2], -1)


def cleaned(mask: np.ndarray) -> np.ndarray:
    """A mask [h, w] without small parts, dilated by 2 x 2."""
    from scipy.ndimage import binary_dilation, label

    parts, count = label(mask)
    if count:
        size = np.bincount(parts.ravel())
        size[0] = 0
        mask = (size >= LEAST_PART * mask.size)[parts]
    return np.asarray(binary_dilation(mask, np.ones((2, 2), bool)))


def counted(convention: str, vocabulary: Vocabulary, on: np.ndarray, slots: np.ndarray) -> Known:
    """What one image adds: masks bool [v, m] and slots int [g, m]."""
    shows = vocabulary.one_hot(slots)
    shared = (on.astype(np.float32) @ shows.T.astype(np.float32)).astype(np.int64)
    area, held = np.broadcast_arrays(on.sum(1)[:, None], shows.sum(1))
    if convention == "bioexp":
        dice = np.where(held > 0, 2 * shared / np.maximum(area + held, 1), 0.0)
        return DICE(Moments.of(np.concatenate([dice.ravel(), (held > 0).ravel()])[None]))
    if convention == "netdissect":
        kinds = range(len(vocabulary.categories))
        labelled = [shared[:, vocabulary.category == g].any(1) for g in kinds]
        area = area * np.stack(labelled, 1)[:, vocabulary.category]
    return AREAS[convention](JointCounts(np.stack([shared, held, area], 1)))


def scores(convention: str, state: Known, vocabulary: Vocabulary) -> np.ndarray:
    """Each unit's score with each concept, [v, l]."""
    if convention == "bioexp":
        dice, seen = np.split(state[DICE].mean, 2)
        mean = np.where(seen > 0, dice / np.where(seen > 0, seen, 1), 0.0)
        return mean.reshape(-1, len(vocabulary.names))
    shared, concept, active = _counts(state, AREAS[convention]).swapaxes(0, 1)
    return Overlaps(shared, active, concept, concept).iou


def _counts(state: Known, key: Key[JointCounts]) -> np.ndarray:
    counts = state[key].counts
    assert counts is not None
    return counts

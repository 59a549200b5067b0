"""Images whose maps are kept: what nulls, intervals and formulas are computed on. No network."""

from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.bins import resized
from conceptseg.study.dissect.pilot import Plan
from conceptseg.study.dissect.sources import on_centres


@dataclass(frozen=True)
class Chosen:
    """What was chosen for each unit [v] on the first half of the images.

    `concept` index of the vocabulary; `quantile` index of those tried; `low` whether it is active
    where its value is low; `threshold` the value itself.
    """

    concept: np.ndarray
    quantile: np.ndarray
    low: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Kept:
    """`maps` [v, y, x] of each of n images, `slots` [g, y', x'] on the grid that is counted on.

    `half` int [n]; `sampling` what each image counts as in intervals and tests.
    """

    plan: Plan
    maps: tuple[np.ndarray, ...]
    slots: tuple[np.ndarray, ...]
    half: np.ndarray
    sampling: Sampling

    @classmethod
    def of(cls, plan: Plan, table: SampleTable) -> "Kept":
        ids = table.ids
        return cls(
            plan,
            tuple(table.tables[i]["maps"][0] for i in ids),
            tuple(table.tables[i]["slots"][0] for i in ids),
            np.array([plan.half[i] for i in ids], dtype=np.int64),
            plan.sampling.named(ids),
        )

    def fields(self, image: int, grid: tuple[int, int] | None = None) -> np.ndarray:
        """An image's maps on a grid (that of its slots), float32 [v, y' x']."""
        size = self.slots[image].shape[1:] if grid is None else grid
        maps = torch.from_numpy(self.maps[image])[None]
        return np.asarray(resized(maps, (int(size[0]), int(size[1])))[0].flatten(1).numpy())

    def coarse_slots(self, image: int, side: int) -> np.ndarray:
        """An image's slots on a grid of side x side places, int [g, side^2]."""
        slots = torch.from_numpy(self.slots[image].astype(np.int64))
        return np.asarray(on_centres(slots, (side, side)).flatten(1).numpy())


@dataclass(frozen=True)
class Masks:
    """Units and concepts as bits over the kept images of one half, and counts of each image.

    `units` uint64 [v, w], `concepts` uint64 [l, w]; `counts` int64 [n, 4, v]: of each image, the
    pixels that a unit and its own concept share, of the unit, of the concept, and annotated.
    """

    units: np.ndarray
    concepts: np.ndarray
    counts: np.ndarray
    sampling: Sampling


def active(fields: np.ndarray, thresholds: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Where units [v, m] are active: above their threshold [v], or for low tails not above it."""
    return (fields > thresholds[:, None].astype(np.float32)) != low[:, None]


def masks(kept: Kept, half: int, chosen: Chosen) -> Masks:
    """The bits of one half, with each unit [v] at its threshold and counted with its concept."""
    vocabulary = kept.plan.vocabulary
    category = vocabulary.category[chosen.concept]
    unit_bits, concept_bits, counts = [], [], []
    images = np.flatnonzero(kept.half == half)
    for i in images.tolist():
        slots = kept.slots[i].reshape(len(kept.slots[i]), -1)
        shows, known = vocabulary.one_hot(slots), vocabulary.annotated(slots)
        on = active(kept.fields(i), chosen.threshold, chosen.low)
        own, valid = shows[chosen.concept], known[category]
        counts.append(np.stack([(on & own).sum(1), (on & valid).sum(1), own.sum(1), valid.sum(1)]))
        unit_bits.append(packed(on))
        concept_bits.append(packed(shows))
    units, names = len(chosen.concept), len(vocabulary.names)
    return Masks(
        np.concatenate(unit_bits or [np.zeros((units, 0), np.uint64)], axis=1),
        np.concatenate(concept_bits or [np.zeros((names, 0), np.uint64)], axis=1),
        np.array(counts, dtype=np.int64).reshape(-1, 4, units),
        kept.sampling.at(images),
    )


def packed(rows: np.ndarray) -> np.ndarray:
    """Booleans [r, m] as words of 64 bits, uint64 [r, ceil(m / 64)], filled up with zeros."""
    fill = -rows.shape[1] % 64
    bits = np.packbits(np.pad(rows, ((0, 0), (0, fill))), axis=1)
    return np.ascontiguousarray(bits).view(np.uint64)

"""Is a unit tied to its concept? By chance: label maps exchanged between images, or shifted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.fits import all_of
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.dissect.kept import Chosen, Kept, active
from conceptseg.study.dissect.measures import Overlaps

SIDE = 32
"""Places along each side of the grid of the nulls, the same for images of all shapes."""
MOST_IMAGES = 40
SHIFTS = 64
CALIBRATION = 100
MOST_KEPT = 1999
COLUMNS = 64
PUBLISHED_QUANTILE, PUBLISHED_IOU = 0.01, 0.04


@dataclass(frozen=True)
class Permuted:
    """Each unit's overlap with its concept above chance, `observed` [v], and by chance [r, v].

    `null` holds the first of `draws` draws, `null_best` [draws] the largest of all units in each.
    `p` [v] is that of each unit; `p_family` [v] that of the largest over all units, so that the
    chance of any false detector is at most it. `blocks` images, or groups of images as wholes where
    `grouped`, were exchanged; `shifted` [v] whose concept lies at the same place in all images. Of
    labels that are exchanged: `rate` the share of units with p <= 0.05, `detectors` the share that
    come out as detectors, `published` the share whose best IoU exceeds the published 0.04 at the
    published quantile. They measure the test where what is exchanged is exchangeable.
    """

    observed: np.ndarray
    null: np.ndarray
    null_best: np.ndarray
    p: np.ndarray
    p_family: np.ndarray
    images: int
    draws: int
    blocks: int
    grouped: bool
    shifted: np.ndarray
    rate: float
    detectors: float
    published: float


def permuted(
    kept: Kept,
    chosen: Chosen,
    published: np.ndarray,
    allowed: np.ndarray,
    draws: int,
    *,
    min_overlap: float,
    seed: int,
) -> Permuted:
    """Tests each unit, at its threshold, for its concept.

    The images are those of the half that chose neither thresholds nor concepts. Under the
    hypothesis the label maps of what counts as one (an image, or a group of images) are
    exchangeable with those of another: they may still show where in an image things tend to lie.
    Groups are exchanged as wholes, since images of a group may be alike in both, however few they
    are: fewer than `LEAST_BLOCKS` have too few orders for one unit among many to be shown. A
    concept that lies at the same place in all images (the upper part) would stay the same; it is
    shifted instead, around the edges, by steps of its own for each block of images.

    There are `draws`, or more where that many cannot show a single unit among so many: v / 0.05.
    `published` [v] are the thresholds of the published quantile, compared with all of `allowed`.
    """
    blocks, grouped = _blocks(kept)
    images = blocks.flatten().tolist()
    seen = Seen.of(kept, images)
    units = len(chosen.concept)
    draws = max(draws, int(np.ceil(units / ALPHA)))
    rng = np.random.default_rng([seed, 11])
    orders = _orders(blocks, draws, rng)
    offsets, turns = _shifts(blocks, draws, rng)
    observed, shifted = np.zeros(units), np.zeros(units, bool)
    null = np.zeros((min(draws, MOST_KEPT), units), np.float32)
    exceeds, best = np.zeros(units, np.int64), np.full(draws, -1.0)
    on = seen.active(kept, images, chosen.threshold, chosen.low)
    items = [(int(chosen.concept[own[0]]), fixed, own) for own, fixed in _columns(seen, chosen)]
    exchange = Exchange(seen, on, orders, offsets, turns)
    for (_, fixed, own), found in zip(items, all_of(exchanged, items, exchange), strict=True):
        observed[own], shifted[own], exceeds[own] = found.observed, fixed, found.exceeds
        null[:, own] = found.null
        best = np.maximum(best, found.best)
    on = seen.active(kept, images, published, np.zeros(units, bool))
    rate, detectors = _calibration(null, min_overlap)
    return Permuted(
        observed,
        null,
        best,
        (1 + exceeds) / (1 + draws),
        (1 + (best[:, None] >= observed - 1e-12).sum(0)) / (1 + draws),
        len(images),
        draws,
        len(blocks),
        grouped,
        shifted,
        rate,
        detectors,
        _published_rate(seen, on, allowed, orders[: 1 + min(draws, CALIBRATION)]),
    )


def _blocks(kept: Kept) -> tuple[np.ndarray, bool]:
    """Images [b, s] of the half that is tested, the s of a row exchanged together; as groups?"""
    tested = np.flatnonzero(kept.half == 1)
    groups: dict[str, list[int]] = {}
    for image in tested.tolist():
        groups.setdefault(kept.sampling.groups[image], []).append(image)
    if len(groups) == len(tested):
        return tested[:MOST_IMAGES, None], False
    rows = list(groups.values())[:MOST_IMAGES]
    size = min(max(1, MOST_IMAGES // len(rows)), *(len(row) for row in rows))
    return np.array([row[:size] for row in rows]), True


def _orders(blocks: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Whose labels each image gets, [1 + draws, n]: first its own, then those of other blocks."""
    count, size = blocks.shape
    order = np.tile(np.arange(count), (1 + draws, 1))
    order[1:] = rng.permuted(order[1:], axis=1)
    return (order[:, :, None] * size + np.arange(size)).reshape(1 + draws, -1)


def _shifts(
    blocks: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets [s, 2], the first of none, and which each image takes, [1 + draws, n]: first none."""
    offsets = np.concatenate([[[0, 0]], rng.integers(0, SIDE, (SHIFTS - 1, 2))])
    turns = np.repeat(rng.integers(1, SHIFTS, (draws + 1, len(blocks))), blocks.shape[1], axis=1)
    turns[0] = 0
    return offsets, turns


@dataclass(frozen=True)
class Seen:
    """What n images show on the common grid: `held` bool [n, l, m], `known` bool [n, g, m]."""

    held: np.ndarray
    known: np.ndarray
    category: np.ndarray

    @classmethod
    def of(cls, kept: Kept, images: list[int]) -> "Seen":
        vocabulary = kept.plan.vocabulary
        slots = [kept.coarse_slots(i, SIDE) for i in images]
        names, categories = len(vocabulary.names), len(vocabulary.categories)
        return cls(
            np.array([vocabulary.one_hot(s) for s in slots], bool).reshape(-1, names, SIDE**2),
            np.array([vocabulary.annotated(s) for s in slots], bool).reshape(
                -1, categories, SIDE**2
            ),
            vocabulary.category,
        )

    def active(
        self, kept: Kept, images: list[int], thresholds: np.ndarray, low: np.ndarray
    ) -> np.ndarray:
        """Where units are active, bool [n, v, m]."""
        maps = [active(kept.fields(i, (SIDE, SIDE)), thresholds, low) for i in images]
        return np.array(maps, bool).reshape(len(images), len(thresholds), SIDE**2)

    def fixed(self, concept: int) -> bool:
        """Whether the concept lies at the same place in all images, of which there are several."""
        maps = self.held[:, concept]
        return len(maps) > 1 and bool(maps[0].any()) and bool((maps == maps[:1]).all())

    def shifted(self, concept: int, offsets: np.ndarray) -> np.ndarray:
        """A fixed concept's map moved around the edges by offsets [s, 2], bool [s, m]."""
        whole = self.held[0, concept].reshape(SIDE, SIDE)
        return np.stack([np.roll(whole, tuple(o), (0, 1)).ravel() for o in offsets.tolist()])

    def overlaps(
        self,
        on: np.ndarray,
        maps: np.ndarray,
        concept: int,
        choices: np.ndarray,
        fixed: bool = False,
    ) -> Overlaps:
        """Overlaps [r, w] of units [n, w, m] with maps [s, m] that `choices` [r, n] assigns to
        images."""
        valid = self.known[:, self.category[concept]]
        rows = on.astype(np.float32)
        shared = (rows @ maps.T.astype(np.float32)).transpose(0, 2, 1)  # [n, s, w]
        if fixed:
            there = np.broadcast_to((on & valid[:, None]).sum(2)[:, None], shared.shape)
        else:
            there = (rows @ valid.T.astype(np.float32)).transpose(0, 2, 1)
        total = np.zeros((2, len(choices), on.shape[1]))
        for i, chosen in enumerate(choices.T):
            total[0] += shared[i, chosen]
            total[1] += there[i, chosen]
        size = self.held[:, concept].sum()
        return Overlaps(total[0], total[1], size, valid.sum())


@dataclass(frozen=True)
class Exchange:
    """What images show, where units are active in them (`on` [n, v, m]), and whose labels, or which
    shift of them, each image gets."""

    seen: Seen
    on: np.ndarray
    orders: np.ndarray
    offsets: np.ndarray
    turns: np.ndarray


@dataclass(frozen=True)
class Exchanged:
    """Of some units their overlap, how often chance exceeds it, its first draws, and its best."""

    observed: np.ndarray
    exceeds: np.ndarray
    null: np.ndarray
    best: np.ndarray


def exchanged(exchange: Exchange, concept: int, fixed: bool, units: np.ndarray) -> Exchanged:
    """Some units, all of one concept, against exchanged labels of it, or shifted ones."""
    seen = exchange.seen
    choices = exchange.turns if fixed else exchange.orders
    maps = seen.shifted(concept, exchange.offsets) if fixed else seen.held[:, concept]
    overlap = seen.overlaps(exchange.on[:, units], maps, concept, choices, fixed).above_chance
    exceeds = (overlap[1:] >= overlap[0] - 1e-12).sum(0)
    null = overlap[1 : 1 + MOST_KEPT].astype(np.float32)
    return Exchanged(overlap[0], exceeds, null, overlap[1:].max(1))


def _columns(seen: Seen, chosen: Chosen) -> Iterator[tuple[np.ndarray, bool]]:
    """Units of one concept, a block at a time, and whether that lies at a fixed place."""
    concept = chosen.concept
    for shared in np.unique(concept).tolist():
        own = np.flatnonzero(concept == shared)
        fixed = seen.fixed(shared)
        for first in range(0, len(own), COLUMNS):
            yield own[first : first + COLUMNS], fixed


def _calibration(null: np.ndarray, min_overlap: float) -> tuple[float, float]:
    """Permuted labels taken for observed ones: share of p <= 0.05, and of detectors."""
    rates, calls = [], []
    for turn in range(min(len(null) // 2, CALIBRATION)):
        rest = np.delete(null, turn, axis=0)
        p = (1 + (rest >= null[turn]).sum(0)) / (1 + len(rest))
        rates.append((p <= ALPHA).mean())
        calls.append(((benjamini_hochberg(p) <= ALPHA) & (null[turn] >= min_overlap)).mean())
    return (float(np.mean(rates)), float(np.mean(calls))) if rates else (np.nan, np.nan)


def _published_rate(seen: Seen, on: np.ndarray, allowed: np.ndarray, orders: np.ndarray) -> float:
    """Share of units whose best IoU with any concept exceeds 0.04 when labels are exchanged."""
    units = on.shape[1]
    best = np.zeros((len(orders) - 1, units))
    for concept in allowed.tolist():
        for first in range(0, units, COLUMNS):
            own = slice(first, first + COLUMNS)
            maps = seen.held[:, concept]
            iou = seen.overlaps(on[:, own], maps, concept, orders[1:]).iou
            best[:, own] = np.maximum(best[:, own], iou)
    return float((best > PUBLISHED_IOU).mean()) if best.size else float("nan")

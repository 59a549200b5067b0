"""What chance alone would give: label maps permuted between images, and rotated bases of units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from conceptseg.dissect.kept import Kept, active
from conceptseg.dissect.measures import Overlaps
from conceptseg.significance import benjamini_hochberg

SIDE = 32
"""Places along each side of the grid of the nulls, the same for images of all shapes."""
MOST_IMAGES = 32
LEAST_BLOCKS = 6
CALIBRATION = 100
PUBLISHED_QUANTILE, PUBLISHED_IOU = 0.01, 0.04
ANGLES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Permuted:
    """Each unit's best overlap above chance, `observed` [v], and under permutations [r, v].

    `p` [v] is that of each unit; `p_family` [v] that of the largest over all units, so that the
    chance of any false detector is at most it. `grouped` says that groups of images were
    exchanged as wholes, rather than single images. Of labels that are permuted: `rate` the share of
    units with p <= 0.05, `detectors` the share that come out as detectors, `published` the share
    whose best IoU exceeds the published 0.04 at the published quantile.
    """

    observed: np.ndarray
    null: np.ndarray
    p: np.ndarray
    p_family: np.ndarray
    images: int
    grouped: bool
    rate: float
    detectors: float
    published: float


def permuted(
    kept: Kept,
    thresholds: np.ndarray,
    low: np.ndarray,
    published: np.ndarray,
    allowed: np.ndarray,
    *,
    draws: int,
    min_overlap: float,
    seed: int,
) -> Permuted:
    """Tests each unit [v], at its threshold, for any concept [l] that is `allowed`.

    The images are those of the half that chose neither thresholds nor concepts. Under the
    hypothesis the label maps of what counts as one (an image, or a group of images) are
    exchangeable with those of another: they may still tell where in an image things tend to lie.
    Groups are exchanged as wholes, since images of a group may be alike in both; fewer than
    `LEAST_BLOCKS` of them have too few orders to test by, and single images are exchanged. The
    statistic is the largest overlap above chance over all concepts, so that looking at many is
    accounted for. `published` [v] are the thresholds of the published quantile.
    """
    blocks, grouped = _blocks(kept)
    images = blocks.flatten().tolist()
    rng = np.random.default_rng([seed, 11])
    order = np.stack(
        [np.arange(len(blocks)), *(rng.permutation(len(blocks)) for _ in range(draws))]
    )
    size = blocks.shape[1]
    orders = (order[:, :, None] * size + np.arange(size)).reshape(len(order), -1)
    found = _best(kept, images, thresholds, low, allowed, orders)
    best = np.concatenate([one.above_chance.max(2) for one in found], axis=1)
    observed, null = best[0], best[1:]
    family = null.max(1, initial=-1.0)
    few = orders[: 1 + min(draws, CALIBRATION)]
    published_found = _best(kept, images, published, np.zeros_like(low), allowed, few)
    iou = np.concatenate([one.iou.max(2) for one in published_found], axis=1)[1:]
    rate, detectors = _calibration(null, min_overlap)
    return Permuted(
        observed,
        null,
        (1 + (null >= observed - 1e-12).sum(0)) / (1 + draws),
        (1 + (family[:, None] >= observed - 1e-12).sum(0)) / (1 + draws),
        len(images),
        grouped,
        rate,
        detectors,
        float((iou > PUBLISHED_IOU).mean()) if iou.size else float("nan"),
    )


def _blocks(kept: Kept) -> tuple[np.ndarray, bool]:
    """Images [b, s] of the half that is tested, the s of a row exchanged together; as groups?"""
    tested = np.flatnonzero(kept.half == 1)
    groups: dict[str, list[int]] = {}
    for image in tested.tolist():
        groups.setdefault(kept.member[image], []).append(image)
    if len(groups) == len(tested) or len(groups) < LEAST_BLOCKS:
        return tested[:MOST_IMAGES, None], False
    rows = list(groups.values())[:MOST_IMAGES]
    size = min(max(1, MOST_IMAGES // len(rows)), *(len(row) for row in rows))
    return np.array([row[:size] for row in rows]), True


def _calibration(null: np.ndarray, min_overlap: float) -> tuple[float, float]:
    """Permuted labels taken for observed ones: share of p <= 0.05, and of detectors."""
    rates, calls = [], []
    for turn in range(min(len(null) // 2, CALIBRATION)):
        rest = np.delete(null, turn, axis=0)
        p = (1 + (rest >= null[turn]).sum(0)) / (1 + len(rest))
        rates.append((p <= 0.05).mean())
        calls.append(((benjamini_hochberg(p) <= 0.05) & (null[turn] >= min_overlap)).mean())
    return (float(np.mean(rates)), float(np.mean(calls))) if rates else (np.nan, np.nan)


def _best(
    kept: Kept,
    images: list[int],
    thresholds: np.ndarray,
    low: np.ndarray,
    allowed: np.ndarray,
    orders: np.ndarray,
) -> Iterator[Overlaps]:
    """Overlaps [r, v', l'] of blocks of units with permuted label maps, `orders` [r, n]."""
    vocabulary = kept.plan.vocabulary
    n, units = len(images), len(thresholds)
    on = np.zeros((n, units, SIDE * SIDE), dtype=np.float32)
    shows, known = [], []
    for row, i in enumerate(images):
        on[row] = active(kept.fields(i, (SIDE, SIDE)), thresholds, low)
        slots = kept.coarse_slots(i, SIDE)
        shows.append(vocabulary.one_hot(slots)[allowed])
        known.append(vocabulary.annotated(slots))
    category = vocabulary.category[allowed]
    held = np.array(shows, np.float32)
    valid = np.array(known, np.float32)
    right = np.concatenate([held, valid], axis=1)  # [n, l' + g, m]
    concept, annotated = held.sum((0, 2)), valid.sum((0, 2))[category]
    pick = np.zeros((len(orders), n * n), dtype=np.float32)
    np.put_along_axis(pick, np.arange(n) * n + orders, 1.0, axis=1)
    block = max(1, 2**22 // max(1, len(orders) * right.shape[1]))
    columns = right.reshape(-1, SIDE * SIDE).T
    for first in range(0, units, block):
        left = np.ascontiguousarray(on[:, first : first + block])
        width = left.shape[1]
        # Sums of at most 2^10 ones: exact in float32.
        pairs = (left.reshape(n * width, -1) @ columns).reshape(n, width, n, -1)
        pairs = pairs.transpose(0, 2, 1, 3).reshape(n * n, -1)
        total = (pick @ pairs).reshape(len(orders), width, -1).astype(np.float64)
        shared, active_there = total[..., : len(allowed)], total[..., len(allowed) :]
        yield Overlaps(shared, active_there[..., category], concept, annotated)


@dataclass(frozen=True)
class Rotated:
    """Detectors and different concepts among them, per angle and draw; angle 0 is the basis itself.

    `rows`: dictionaries with `angle` (a share of the way to a random basis), `draw`, `detectors`
    and `unique` (by overlap above chance, chosen on one half and scored on the other), and the
    same by the published rule.
    """

    rows: tuple[dict[str, float], ...]
    images: int


def rotated(
    kept: Kept,
    allowed: np.ndarray,
    quantiles: tuple[float, ...],
    *,
    draws: int,
    min_overlap: float,
    seed: int,
) -> Rotated:
    """Detectors when the basis of units is turned towards random ones.

    Q^a A with Q drawn from the Haar measure on rotations and a in (0, 1]: if single units mean
    something, there are more detectors at a = 0 than at a = 1. High values count alone, as
    published.

    Source: Bau et al. 2017 (arXiv 1704.05796), section 3.2.
    """
    images = [
        i for half in (0, 1) for i in np.flatnonzero(kept.half == half)[: MOST_IMAGES // 2].tolist()
    ]
    fields = np.stack([kept.fields(i, (SIDE, SIDE)) for i in images], axis=1)
    slots = np.stack([kept.coarse_slots(i, SIDE) for i in images], axis=1)
    half = kept.half[images]
    turns: list[tuple[float, int, np.ndarray | None]] = [(0.0, 0, None)]
    for draw in range(draws):
        basis = haar(len(fields), np.random.default_rng([seed, 12, draw]))
        turns += [(angle, draw, power(basis, angle)) for angle in ANGLES]
    rows = []
    for angle, draw, turn in turns:
        flat = fields.reshape(len(fields), -1)
        maps = flat if turn is None else turn.astype(np.float32) @ flat
        found = _detectors(kept, maps.reshape(fields.shape), slots, half, allowed, quantiles)
        ours, labels, theirs, published_labels = found
        rows.append(
            {
                "angle": angle,
                "draw": float(draw),
                "detectors": float((ours >= min_overlap).sum()),
                "unique": float(len(np.unique(labels[ours >= min_overlap]))),
                "published_detectors": float((theirs > PUBLISHED_IOU).sum()),
                "published_unique": float(len(np.unique(published_labels[theirs > PUBLISHED_IOU]))),
            }
        )
    return Rotated(tuple(rows), len(images))


def _detectors(
    kept: Kept,
    fields: np.ndarray,
    slots: np.ndarray,
    half: np.ndarray,
    allowed: np.ndarray,
    quantiles: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each unit's held-out overlap and concept, and its best IoU and concept as published."""
    vocabulary = kept.plan.vocabulary
    levels = (*quantiles, PUBLISHED_QUANTILE)
    cut = np.quantile(fields.reshape(len(fields), -1), 1 - np.array(levels), axis=1).T
    parts = []
    for side in (0, 1):
        held = vocabulary.one_hot(slots[:, half == side])[allowed].reshape(len(allowed), -1)
        known = vocabulary.annotated(slots[:, half == side]).reshape(len(slots), -1)
        right = np.concatenate([held, known]).astype(np.float32).T
        flat = fields[:, half == side].reshape(len(fields), -1)
        both = np.stack([(flat > cut[:, q, None]) @ right for q in range(len(levels))], axis=1)
        category = vocabulary.category[allowed]
        annotated = known.sum(1)[category]
        shared, on = both[..., : len(allowed)], both[..., len(allowed) :][..., category]
        parts.append(Overlaps(shared, on, held.sum(1), annotated))
    choose, score = (part.above_chance[:, :-1].reshape(len(fields), -1) for part in parts)
    best = choose.argmax(1)
    ours = score[np.arange(len(fields)), best]
    whole = Overlaps(
        parts[0].shared + parts[1].shared,
        parts[0].active + parts[1].active,
        parts[0].concept + parts[1].concept,
        parts[0].annotated,
    ).iou[:, -1]
    return ours, best % len(allowed), whole.max(1), whole.argmax(1)


def haar(size: int, rng: np.random.Generator) -> np.ndarray:
    """A rotation [size, size] drawn from the Haar measure: QR of normals, signs made unique.

    Source: Mezzadri 2007, "How to generate random matrices from the classical compact groups".
    """
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    q *= np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] *= -1
    return np.asarray(q)


def power(rotation: np.ndarray, exponent: float) -> np.ndarray:
    """A rotation to a power between 0 and 1: the same turn, but not all the way."""
    values, vectors = np.linalg.eig(rotation)
    # A rotation is normal, so its eigenvectors are orthonormal up to rounding.
    angles = np.angle(values) * exponent
    return np.asarray((vectors * np.exp(1j * angles)) @ np.linalg.inv(vectors)).real

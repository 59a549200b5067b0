"""What exchanges cost, how surely, and which of them have to be made more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.stats.intervals import FEWEST, units
from conceptseg.stats.p_values import joint_flips

if TYPE_CHECKING:
    from conceptseg.study.permutation.config import Permutation
    from conceptseg.study.permutation.deltas import Deltas

DRAWS = 1000
OVERALL = "all classes"


@dataclass(frozen=True)
class Importance:
    """One variant and one class (or all): the rise of 1 - IoU, its interval and how sure.

    `p` of "at most the smallest effect", one-sided, by flipping groups' signs, and `p_adjusted` for
    all parts and classes of the scheme, flipped together; `p_least`, the smallest that this could
    be with so many groups; `detectable`, the rise that would have been found. `ratio` is the loss
    after the exchange over that before it. `likely` and `border` are the rises of the other
    losses. `repeats` exchanges were made, of `images` in `groups`.
    """

    variant: int
    class_id: int | None
    value: float
    low: float
    high: float
    ratio: float
    likely: float
    border: float
    images: int
    groups: int
    repeats: int
    p: float = 1.0
    p_adjusted: float = 1.0
    p_least: float = 1.0
    detectable: float = float("nan")


def means(deltas: Deltas, class_ids: Sequence[int]) -> np.ndarray:
    """Of each image [n] and variant [v]: the rise averaged over classes and repeats."""
    with np.errstate(invalid="ignore"):
        own = deltas.overlap[..., list(class_ids)]
    known = np.isfinite(own)
    total = np.where(known, own, 0.0).sum((2, 3))
    count = known.sum((2, 3))
    found: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def by_repeat(values: np.ndarray) -> np.ndarray:
    """Mean over classes of values [n, r, c] without their nans, [n, r]."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(2)
    return np.where(known.any(2), total / np.maximum(known.sum(2), 1), np.nan)


def interval(
    values: np.ndarray, groups: np.ndarray, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of values [n, r] when groups and repeats are drawn anew.

    Both are drawn, with replacement, so that it holds over new images and new exchanges.

    Source: Owen 2007, "The pigeonhole bootstrap".
    """
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    if count < FEWEST:
        return float("nan"), float("nan")
    sums = np.stack([np.bincount(place, column, count) for column in values.T], 1)
    size = np.bincount(place, minlength=count)
    rng = np.random.default_rng([seed, 31])
    taken = rng.integers(0, count, (DRAWS, count))
    repeat = rng.integers(0, values.shape[1], (DRAWS, values.shape[1]))
    drawn = [
        sums[np.ix_(g, r)].sum() / (size[g].sum() * len(r))
        for g, r in zip(taken, repeat, strict=True)
    ]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tested(
    study: Permutation, context: Context, deltas: Deltas, class_ids: Sequence[int]
) -> list[Importance]:
    """Every variant for all classes together and for each class, corrected scheme by scheme."""
    groups = counted(study, context, deltas)[0]
    names, place_of = np.unique(groups, return_inverse=True)
    found: list[Importance] = []
    effects: list[np.ndarray] = []
    for place in range(len(deltas.variants)):
        made = np.isfinite(deltas.overlap[:, place]).any((0, 2))
        for class_id in (None, *class_ids):
            own = list(class_ids) if class_id is None else [class_id]
            values = by_repeat(deltas.overlap[:, place][:, made][..., own])
            rows = np.flatnonzero(np.isfinite(values).all(1))
            if not len(rows):
                continue
            values = values[rows]
            image = values.mean(1)
            low, high = interval(values, groups[rows], context.seed)
            before = float(by_repeat(deltas.clean[rows][:, None, own]).mean())
            value = float(image.mean())
            likely, border = _mean(deltas.extra[rows, place][:, :, own])
            found.append(
                Importance(
                    place,
                    class_id,
                    value,
                    low,
                    high,
                    (before + value) / before if before > 1e-9 else float("nan"),
                    likely,
                    border,
                    len(rows),
                    len(set(groups[rows].tolist())),
                    1 if deltas.variants[place].once else int(made.sum()),
                )
            )
            effects.append(np.bincount(place_of[rows], image - study.smallest_effect, len(names)))
    return corrected(study, context, deltas, found, np.array(effects))


def corrected(
    study: Permutation,
    context: Context,
    deltas: Deltas,
    found: Sequence[Importance],
    effects: np.ndarray,
) -> list[Importance]:
    """With p-values, of effects [m, g] beyond the smallest one that counts, summed over groups."""
    result = list(found)
    for scheme in {variant.scheme for variant in deltas.variants}:
        rows = [i for i, o in enumerate(found) if deltas.variants[o.variant].scheme == scheme]
        if not rows:
            continue
        told = joint_flips(effects[rows], seed=context.seed)
        for n, i in enumerate(rows):
            one = found[i]
            # Of groups of equal size: how their means scatter, and how far a mean must exceed that.
            own = effects[i][effects[i] != 0] * one.groups / one.images
            seen = bool(len(own)) and bool(np.isfinite(told.reach[n]))
            result[i] = replace(
                one,
                p=float(told.p[n]),
                p_adjusted=float(told.adjusted[n]),
                p_least=float(told.least[n]),
                detectable=study.smallest_effect + float(told.reach[n] * own.std())
                if seen
                else float("nan"),
            )
    return result


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Means over images and classes of values [n, 2, c]; nan where there are none."""
    told = []
    for part in values.transpose(1, 0, 2):
        finite = part[np.isfinite(part)]
        told.append(float(finite.mean()) if finite.size else float("nan"))
    return told[0], told[1]


def counted(study: Permutation, context: Context, deltas: Deltas) -> tuple[np.ndarray, str]:
    """What intervals and tests count [n], and its name."""
    samples = [context.manifest.sample(name) for name in deltas.ids]
    groups, unit = units(deltas.ids, [s.group for s in samples], study.unit)
    return np.array(groups), unit


def usable(study: Permutation, context: Context, deltas: Deltas) -> tuple[int, ...]:
    """The classes that enough images hold. Raises InputError where there is none."""
    wanted = study.class_ids(context)
    held = {c: int(np.isfinite(deltas.clean[:, c]).sum()) for c in wanted}
    found = tuple(c for c in wanted if held[c] >= study.min_images)
    if not found:
        most = max(wanted, key=lambda c: held[c])
        raise InputError(
            f"{context.manifest.where}: no class is in {study.min_images} of the "
            f"{len(deltas.ids)} images that are permuted ({context.model.classes[most]!r} is in "
            f"most, {held[most]}); raise images, give more masks, or lower min_images"
        )
    return found


def undecided(study: Permutation, context: Context, deltas: Deltas) -> tuple[int, ...]:
    """Places of the variants whose 99 % interval over all classes holds the smallest effect.

    What does nothing at all in any exchange is decided, and so is what nothing is drawn for.
    """
    class_ids = usable(study, context, deltas)
    groups = counted(study, context, deltas)[0]
    found = []
    for place, variant in enumerate(deltas.variants):
        values = by_repeat(deltas.overlap[:, place][..., list(class_ids)])
        rows = np.flatnonzero(np.isfinite(values).all(1))
        if variant.once or not len(rows) or not np.abs(values[rows]).max() > 0:
            continue
        low, high = interval(values[rows], groups[rows], context.seed, 0.99)
        if low <= study.smallest_effect <= high:
            found.append(place)
    return tuple(found)

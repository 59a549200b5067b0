"""What exchanges cost, how surely, and which of them have to be made more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.contracts import Context
from conceptseg.errors import InputError
from conceptseg.significance import holm, sign_flip_p, units

if TYPE_CHECKING:
    from conceptseg.permutation.permute import Deltas
    from conceptseg.study.permutation import Permutation

DRAWS = 1000
OVERALL = "all classes"


@dataclass(frozen=True)
class Importance:
    """One variant and one class (or all): the rise of 1 - IoU, its interval and how sure.

    `p` of "at most the smallest effect", one-sided, by flipping groups' signs; Holm's over all
    parts and classes of the scheme. `ratio` is the loss after the exchange over that before it.
    `likely` and `border` are the rises of the other losses. `repeats` exchanges were made.
    """

    variant: int
    class_id: int | None
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    ratio: float
    likely: float
    border: float
    images: int
    repeats: int


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
    if count < 2:
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
    """Every variant for all classes together and for each class, Holm's correction by scheme."""
    groups = counted(study, context, deltas)[0]
    found: list[Importance] = []
    tests = len(deltas.variants) * (1 + len(class_ids))
    for place in range(len(deltas.variants)):
        made = np.isfinite(deltas.overlap[:, place]).any((0, 2))
        for class_id in (None, *class_ids):
            own = list(class_ids) if class_id is None else [class_id]
            values = by_repeat(deltas.overlap[:, place][:, made][..., own])
            rows = np.flatnonzero(np.isfinite(values).all(1))
            if not len(rows):
                continue
            values, own_groups = values[rows], groups[rows]
            low, high = interval(values, own_groups, context.seed)
            image = values.mean(1)
            names = [str(g) for g in own_groups]
            p = sign_flip_p(
                image - study.smallest_effect,
                names,
                seed=context.seed,
                side="greater",
                tests=tests,
            )
            before = float(np.nanmean(deltas.clean[rows][:, own]))
            extra = _mean(deltas.extra[rows, place][:, :, own])
            value = float(image.mean())
            found.append(
                Importance(
                    place,
                    class_id,
                    value,
                    low,
                    high,
                    p,
                    1.0,
                    (before + value) / before if before > 1e-9 else float("nan"),
                    extra[0],
                    extra[1],
                    len(rows),
                    1 if deltas.variants[place].once else int(made.sum()),
                )
            )
    return corrected(deltas, found)


def corrected(deltas: Deltas, found: Sequence[Importance]) -> list[Importance]:
    from dataclasses import replace

    result = list(found)
    for scheme in {variant.scheme for variant in deltas.variants}:
        places = [i for i, o in enumerate(found) if deltas.variants[o.variant].scheme == scheme]
        for i, q in zip(places, holm([found[i].p for i in places]), strict=True):
            result[i] = replace(found[i], p_holm=float(q))
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

"""Numbers of a whole data set with intervals over its images or their groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (nan where there is nothing to draw from)."""

    value: float
    low: float = NAN
    high: float = NAN


def drawn_weights(groups: Sequence[str], seed: int) -> np.ndarray:
    """How often each image is drawn when whole groups are, int [draws, images]; none for one."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return np.zeros((0, len(groups)), np.int64)
    rng = np.random.default_rng([seed, 21])
    shares = np.full(len(names), 1 / len(names))
    found: np.ndarray = rng.multinomial(len(names), shares, size=DRAWS)[:, index]
    return found


def ratio(part: np.ndarray, whole: np.ndarray, draws: np.ndarray) -> Estimate:
    """sum(part) / sum(whole) over images [i], with a bootstrap percentile interval."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    if whole.sum() == 0:
        return Estimate(NAN)
    drawn = _divide(draws @ part, draws @ whole)
    return _with_interval(float(part.sum() / whole.sum()), drawn)


def mean_iou(confusions: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mIoU of the data set and of each draw, float [1] and [draws], from counts [i, k, k].

    Counts are truth by prediction; the mean is over classes that the labels hold at all (in each
    draw, over those of them that it holds).
    """
    parts = iou_parts(confusions)
    whole = tuple(one.sum(0, keepdims=True) for one in parts)
    return _miou(*whole), _miou(*(draws @ one for one in parts))


def iou_parts(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shared pixels, union and labelled pixels of each class, [i, k] each."""
    counts = np.asarray(confusions, np.float64)
    shared = np.einsum("ikk->ik", counts)
    held, taken = counts.sum(2), counts.sum(1)
    return shared, held + taken - shared, held


def _miou(shared: np.ndarray, union: np.ndarray, held: np.ndarray) -> np.ndarray:
    there = held > 0
    iou = np.where(there, shared / np.maximum(union, 1), 0)
    found: np.ndarray = iou.sum(1) / np.maximum(there.sum(1), 1)
    return found


def difference(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> Estimate:
    """first - second of two values from :func:`mean_iou`, drawn together."""
    return _with_interval(float((first[0] - second[0])[0]), first[1] - second[1])


def estimate(value: tuple[np.ndarray, np.ndarray]) -> Estimate:
    return _with_interval(float(value[0][0]), value[1])


def _with_interval(value: float, drawn: np.ndarray) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(float(value))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
    return found

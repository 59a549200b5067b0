"""How methods stand: means with intervals, ranks, and each against a copy of the prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.corrections import holm
from conceptseg.stats.intervals import bootstrap_interval, detectable_at
from conceptseg.stats.p_values import sign_flip_p, smallest_p
from conceptseg.study.saliency.judge import Judged

ALPHA = 0.05
NAN = float("nan")
MASK_COPY = "prediction_mask"
CHANCE = "random_map"
KNOWN = "chance"
"""Reference of CBL alone: the share of the surroundings that the known context covers."""
JUDGING = ("faithfulness", "compactness")
"""Families of metrics that count in the mean rank. Localisation does not: it rewards tracing the
prediction, whatever the network looked at."""


@dataclass(frozen=True)
class Mean:
    """A mean over cases, its 95 % interval (whole groups drawn), and how many cases it is of."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """A paired mean difference from a reference, positive where better, with its p-values.

    `p_least`: the smallest corrected p-value that so many cases can give; `detectable`: the
    difference, either way, that would pass after correction with power 0.8.
    """

    method: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    p_least: float
    detectable: float
    n: int


def mean(values: np.ndarray, groups: Sequence[str], seed: int) -> Mean:
    """The mean of values [cases]; nan ones are left out and not counted."""
    good = np.flatnonzero(np.isfinite(values)).tolist()
    if not good:
        return Mean(NAN, NAN, NAN, 0)
    kept = [groups[i] for i in good]
    low, high = bootstrap_interval(values[good], kept, seed=seed)
    return Mean(float(values[good].mean()), low, high, len(good))


def ranks(values: np.ndarray, better: str) -> np.ndarray:
    """Rank of each method in each case [cases, methods], 1 the best, ties averaged, nan kept."""
    from scipy.stats import rankdata

    signed = values if better == "lower" else -values
    return np.asarray(rankdata(signed, axis=1, nan_policy="omit"), dtype=np.float64)


def overall(judged: Judged) -> np.ndarray:
    """Each method's rank in each case, averaged over the metrics that count: [cases, methods]."""
    each = [
        ranks(judged.of(name), metric.better)
        for name, metric in judged.metrics.items()
        if metric.about.family in JUDGING and metric.better != "neither"
    ]
    if not each:
        return np.full(judged.seconds.shape, NAN)
    stacked = np.stack(each)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), NAN)


def differences(
    judged: Judged, metric: str, reference: str, groups: Sequence[str], seed: int
) -> list[Difference]:
    """Every other method against a reference in one metric; Holm's correction over methods.

    The reference is a method's label, or "chance": what CBL is by chance in each case.
    """
    if reference == KNOWN:
        return _above(judged, metric, judged.chance, judged.methods, groups, seed)
    if reference not in judged.methods:
        return []
    base = judged.of(metric)[:, judged.methods.index(reference)]
    others = [method for method in judged.methods if method != reference]
    return _above(judged, metric, base, others, groups, seed)


def _above(
    judged: Judged,
    metric: str,
    base: np.ndarray,
    methods: Sequence[str],
    groups: Sequence[str],
    seed: int,
) -> list[Difference]:
    """By how much methods are better than `base` [cases], paired by case."""
    sign = -1.0 if judged.metrics[metric].better == "lower" else 1.0
    changes = {
        method: sign * (judged.of(metric)[:, judged.methods.index(method)] - base)
        for method in methods
    }
    able = {m: np.flatnonzero(np.isfinite(c)).tolist() for m, c in changes.items()}
    able = {method: good for method, good in able.items() if len(good) >= 2}
    draws = max(9999, math.ceil(2 * len(able) / ALPHA))
    found = []
    for method, good in able.items():
        change, kept = changes[method][good], [groups[i] for i in good]
        low, high = bootstrap_interval(change, kept, seed=seed)
        p = sign_flip_p(change, kept, seed=seed, draws=draws)
        least = min(1.0, len(able) * smallest_p(len(set(kept)), draws))
        reach = detectable_at(change, kept, ALPHA / len(able), "two")
        found.append((method, float(change.mean()), low, high, p, least, reach, len(good)))
    adjusted = holm([one[4] for one in found]).tolist()
    return [
        Difference(method, metric, value, low, high, p, p_holm, least, reach, n)
        for (method, value, low, high, p, least, reach, n), p_holm in zip(
            found, adjusted, strict=True
        )
    ]

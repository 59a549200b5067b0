"""How methods stand: means with intervals, ranks, and each against a copy of the prediction."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from conceptseg.catalogue import choice_versions
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test
from conceptseg.stats.family import judge as judge_family
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.judge import JUDGED, Judged

MASK_COPY = "prediction_mask"
CHANCE = "random_map"
KNOWN = "chance"
"""Reference of CBL alone: the share of the surroundings that the known context covers."""
JUDGING = ("faithfulness", "compactness")
"""Families of metrics that count in the mean rank. Localisation does not: it rewards tracing the
prediction, whatever the network looked at."""


@dataclass(frozen=True)
class Mean:
    """A method's mean in one metric, over so many cases."""

    method: str
    metric: str
    estimate: Estimate
    cases: int


@dataclass(frozen=True)
class Difference(Mean):
    """A method's mean paired difference from a reference, positive where better, and its test."""

    reference: str
    test: Test


@dataclass(frozen=True)
class Standing:
    """What the study finds of its methods.

    `sampling` says what each case counts as; `ranks` [cases, methods] are averaged over metrics;
    `against` lists the families of tests, one for each metric and reference.
    """

    sampling: Sampling
    ranks: np.ndarray
    means: tuple[Mean, ...]
    against: tuple[Difference, ...]


STANDING = Key("standing", Standing)


def assess(study: Saliency, context: Context, known: Known) -> Known:
    """Means, ranks and differences, counted over images or groups."""
    judged = known[JUDGED]
    samples = [context.manifest.sample(sample_id) for sample_id, _ in judged.cases]
    ids, groups = [s.id for s in samples], [s.group for s in samples]
    sampling = Sampling.counting(ids, groups, study.unit, context.seed)
    families = [
        (name, reference)
        for name, metric in judged.metrics.items()
        if metric.better != "neither"
        for reference in (MASK_COPY, CHANCE)
    ] + [(name, KNOWN) for name in choice_versions(judged.metrics, "cbl")]
    against = tuple(
        one
        for metric, reference in families
        for one in differences(judged, metric, reference, sampling, context.seed)
    )
    return STANDING(Standing(sampling, overall(judged), means(judged, sampling), against))


def means(judged: Judged, sampling: Sampling) -> tuple[Mean, ...]:
    """Every method's mean in every metric, over the cases in which it is defined."""
    ends = {metric: bounds(judged, metric) for metric in judged.metrics}
    return tuple(
        Mean(
            method, metric, sampling.pointed(values, *ends[metric]), int(np.isfinite(values).sum())
        )
        for metric in judged.metrics
        for method, values in zip(judged.methods, judged.of(metric).T, strict=True)
    )


def bounds(judged: Judged, metric: str) -> tuple[float, float]:
    """The ends of a metric's range; of one without, the least and largest number of any method."""
    values = judged.of(metric)
    finite = values[np.isfinite(values)]
    seen = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return judged.metrics[metric].bounds or seen


def ranks(values: np.ndarray, better: str) -> np.ndarray:
    """Rank of each method in each case [cases, methods], 1 the best, ties averaged, nan kept."""
    signed = values if better == "lower" else -values
    return np.asarray(rankdata(signed, axis=1, nan_policy="omit"), dtype=np.float64)


def overall(judged: Judged) -> np.ndarray:
    """Each method's rank in each case, averaged over the metrics that count: [cases, methods]."""
    each = [
        ranks(judged.of(name), metric.better)
        for name, metric in judged.metrics.items()
        if metric.about.family in JUDGING and metric.better != "neither"
    ]
    return finite_mean(np.stack([*each, np.full(judged.values.shape[:2], np.nan)]), 0)


def differences(
    judged: Judged, metric: str, reference: str, sampling: Sampling, seed: int
) -> list[Difference]:
    """Every other method against a reference in one metric, paired by case: a family of tests.

    The reference is a method's label, or "chance": what CBL is by chance in each case. Methods of
    which fewer than two cases can be paired are left out.
    """
    values = dict(zip(judged.methods, judged.of(metric).T, strict=True))
    base = judged.chance if reference == KNOWN else values.pop(reference, None)
    if base is None:
        return []
    sign = -1.0 if judged.metrics[metric].better == "lower" else 1.0
    changes = {method: sign * (own - base) for method, own in values.items()}
    paired = {m: change for m, change in changes.items() if np.isfinite(change).sum() >= 2}
    low, high = bounds(judged, metric)
    tests = judge_family(
        [Question(change, sampling) for change in paired.values()], side="two", seed=seed
    )
    return [
        Difference(
            method,
            metric,
            sampling.pointed(change, low - high, high - low),
            int(np.isfinite(change).sum()),
            reference,
            test,
        )
        for (method, change), test in zip(paired.items(), tests, strict=True)
    ]

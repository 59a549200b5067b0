"""How good the prediction of quality is: against the mean, against confidence, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.stats.intervals import wilson_interval
from conceptseg.stats.p_values import sign_flip_p
from conceptseg.stats.ranks import spearman
from conceptseg.study.bottleneck import flag
from conceptseg.study.bottleneck.regress import (
    Features,
    Fold,
    from_log_odds,
    log_odds,
    nested,
    out_of_fold,
    splits,
)

DRAWS = 1000
SETS = ("layer", "confidence", "both")
"""What quality is told from: the layer's pooled units, the confidence numbers, both together."""

Value = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval over groups; `p` where a difference was tested."""

    value: float
    low: float
    high: float
    p: float | None = None


@dataclass(frozen=True)
class Fitted:
    """Out-of-fold qualities [repeats, n] of one feature set, and the folds of the first repeat."""

    predicted: np.ndarray
    folds: tuple[Fold, ...]
    chosen: tuple[str, ...]


def crossed(
    names: Sequence[str],
    features: Features,
    quality: np.ndarray,
    groups: np.ndarray,
    *,
    folds: int,
    inner: int,
    repeats: int,
    components: int,
    seed: int,
) -> Fitted:
    """Nested cross-validation, repeated with other folds each time."""
    target = log_odds(quality)
    predicted: list[np.ndarray] = []
    first: list[Fold] = []
    chosen: list[str] = []
    for repeat in range(repeats):
        outer = splits(groups, folds, seed + repeat)
        done = list(
            nested(
                names,
                features,
                target,
                groups,
                outer,
                inner=inner,
                components=components,
                seed=seed + repeat,
            )
        )
        predicted.append(from_log_odds(out_of_fold(done, features)))
        chosen += [str(fold.chosen) for fold in done]
        first = first or done
    return Fitted(np.stack(predicted), tuple(first), tuple(chosen))


def r_squared(quality: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum (q - prediction)^2 / sum (q - mean q)^2; nan for a constant quality."""
    total = float(((quality - quality.mean()) ** 2).sum())
    return 1 - float(((quality - predicted) ** 2).sum()) / total if total > 1e-12 else float("nan")


def mean_error(quality: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(quality - predicted).mean())


def estimate(value: Callable[[np.ndarray], float], groups: np.ndarray, seed: int) -> Estimate:
    """value(rows) of all rows, with a percentile interval from drawing whole groups.

    Source: Davison & Hinkley 1997, section 3.8 (strategy 1).
    """
    _, place = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(place == g) for g in range(place.max() + 1)]
    rng = np.random.default_rng([seed, 11])
    everything = value(np.arange(len(groups)))
    if len(members) < 2:
        return Estimate(everything, float("nan"), float("nan"))
    drawn = []
    for _ in range(DRAWS):
        picked = rng.integers(0, len(members), len(members))
        drawn.append(value(np.concatenate([members[g] for g in picked])))
    drawn = [one for one in drawn if np.isfinite(one)]
    if len(drawn) < DRAWS / 2:
        return Estimate(everything, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(everything, float(low), float(high))


def drawn_counts(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's group [n] as a number, and how often each draw takes each group [draws, g]."""
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    rng = np.random.default_rng([seed, 11])
    picked = rng.integers(0, count, (DRAWS, count))
    shifted = picked + count * np.arange(DRAWS)[:, None]
    taken = np.bincount(shifted.ravel(), minlength=DRAWS * count).reshape(DRAWS, count)
    return place, taken


def estimate_mean(values: np.ndarray, groups: np.ndarray, seed: int) -> Estimate:
    """The mean of values [n] as :func:`estimate` finds it, all draws at once."""
    return estimate_difference(values, np.ones(len(values), bool), groups, seed)


def estimate_share(held: np.ndarray, groups: np.ndarray, seed: int) -> Estimate:
    """The share of images [n] that `held` is true of, as :func:`estimate_mean` finds it.

    Drawing again from images that are all alike gives one number: see :func:`opened`.
    """
    return opened(estimate_mean(held.astype(float), groups, seed), groups)


def opened(share: Estimate, groups: np.ndarray) -> Estimate:
    """The share of some images with groups [n]; an interval of one point by Wilson's rule instead.

    That none of 20 failed does not show that none ever fails. Counted are groups, by Kish's
    effective number: as many of equal size would tell as much.
    """
    size = np.unique(groups, return_counts=True)[1]
    if not share.high - share.low <= 1e-12:  # nan, where nothing could be drawn, stays so
        return share
    low, high = wilson_interval(share.value, float(size.sum() ** 2 / (size**2).sum()))
    # At shares of 0 and 1 an end is the share itself but for rounding.
    return replace(share, low=min(low, share.value), high=max(high, share.value))


def estimate_difference(
    values: np.ndarray, members: np.ndarray, groups: np.ndarray, seed: int
) -> Estimate:
    """Mean of values [n] over members less that over the others, with its interval over groups.

    Where all are members there is nothing to take off.
    """
    place, taken = drawn_counts(groups, seed)
    alone = bool(members.all())

    def means(where: np.ndarray) -> tuple[float, np.ndarray]:
        sums = np.bincount(place, values * where, taken.shape[1])
        size = np.bincount(place, where, taken.shape[1])
        drawn = taken @ size
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(sums.sum() / size.sum()), (taken @ sums) / drawn

    value, drawn = means(members.astype(float))
    if not alone:
        other, rest = means((~members).astype(float))
        value, drawn = value - other, drawn - rest
    drawn = drawn[np.isfinite(drawn)]
    if taken.shape[1] < 2 or len(drawn) < DRAWS / 2:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def standing(
    fitted: Mapping[str, Fitted], quality: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, dict[str, Estimate]]:
    """R2, MAE and rank correlation of each feature set, each the mean over repeats."""
    measures: dict[str, Value] = {"r2": r_squared, "mae": mean_error, "spearman": spearman}
    found: dict[str, dict[str, Estimate]] = {}
    for name, one in fitted.items():
        found[name] = {
            key: estimate(_averaged(measure, quality, one.predicted), groups, seed)
            for key, measure in measures.items()
        }
    return found


def _averaged(
    measure: Value, quality: np.ndarray, predicted: np.ndarray
) -> Callable[[np.ndarray], float]:
    def value(rows: np.ndarray) -> float:
        return float(np.mean([measure(quality[rows], each[rows]) for each in predicted]))

    return value


def gain(
    better: np.ndarray, worse: np.ndarray, quality: np.ndarray, groups: np.ndarray, seed: int
) -> Estimate:
    """By how much the mean absolute error falls from `worse` to `better`, both [repeats, n].

    Paired by image; p by flipping the signs of whole groups, two-sided.
    """
    fall = (np.abs(worse - quality) - np.abs(better - quality)).mean(0)
    found = estimate_mean(fall, groups, seed)
    p = sign_flip_p(fall, [str(g) for g in groups], seed=seed)
    return Estimate(found.value, found.low, found.high, p)


@dataclass(frozen=True)
class Flagging:
    """How well scores find failures: numbers by score, the gain over one, and the curves."""

    failed: np.ndarray
    limit: float
    scores: Mapping[str, np.ndarray]
    precision: Mapping[str, Estimate]
    recall: Mapping[str, Estimate]
    average: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]


def flagging(
    scores: Mapping[str, np.ndarray],
    quality: np.ndarray,
    groups: np.ndarray,
    *,
    below: float | None,
    budget: float,
    reference: str,
    seed: int,
) -> Flagging:
    """Each score [repeats, n] (low means doubtful) as a finder of the failures.

    `gains` is the precision within the budget above that of `reference`, from the same draws; its
    p is 1 + the draws at or below zero (or at or above, twice the smaller) over 1 + all draws.
    Precision counts the images that the first repeat would review, recall those that fail, where an
    interval is of one point (:func:`opened`).
    """
    failed, limit = flag.failures(quality, below)
    count = flag.reviewed(len(quality), budget)
    first = {name: np.argsort(score[0], kind="stable")[:count] for name, score in scores.items()}

    def averaged(measure: Callable[[np.ndarray, np.ndarray], float], score: np.ndarray) -> Value:
        return lambda rows, _: float(np.mean([measure(one[rows], failed[rows]) for one in score]))

    def taken(measure: Callable[[np.ndarray, np.ndarray], float]) -> dict[str, Estimate]:
        found = {}
        for name, score in scores.items():
            value = averaged(measure, score)
            found[name] = estimate(lambda rows, v=value: v(rows, rows), groups, seed)  # type: ignore[misc]
        return found

    gains = {}
    for name, score in scores.items():
        if name != reference:
            gains[name] = _precision_gain(score, scores[reference], failed, groups, budget, seed)
    return Flagging(
        failed,
        limit,
        scores,
        {
            name: opened(one, groups[first[name]])
            for name, one in taken(lambda s, f: flag.precision(s, f, budget)).items()
        },
        {
            name: opened(one, groups[failed])
            for name, one in taken(lambda s, f: flag.recall(s, f, budget)).items()
        },
        taken(flag.average_precision),
        gains,
    )


def _precision_gain(
    score: np.ndarray,
    reference: np.ndarray,
    failed: np.ndarray,
    groups: np.ndarray,
    budget: float,
    seed: int,
) -> Estimate:
    drawn: list[float] = []

    def value(rows: np.ndarray) -> float:
        both = [
            np.mean([flag.precision(one[rows], failed[rows], budget) for one in each])
            for each in (score, reference)
        ]
        drawn.append(float(both[0] - both[1]))
        return drawn[-1]

    found = estimate(value, groups, seed)
    null = np.array(drawn[1:])
    if not len(null):
        return found
    tail = min(int((null <= 0).sum()), int((null >= 0).sum()))
    return Estimate(found.value, found.low, found.high, min(1.0, 2 * (1 + tail) / (1 + len(null))))


def calibration_bins(
    quality: np.ndarray, predicted: np.ndarray, bins: int = 8
) -> list[dict[str, float]]:
    """Mean predicted and mean true quality in bins of equally many images."""
    order = np.argsort(predicted, kind="stable")
    found = []
    for number, rows in enumerate(np.array_split(order, min(bins, len(order)))):
        found.append(
            {
                "bin": number + 1,
                "predicted": float(predicted[rows].mean()),
                "true": float(quality[rows].mean()),
                "images": len(rows),
            }
        )
    return found

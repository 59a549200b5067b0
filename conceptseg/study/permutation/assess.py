"""What exchanges cost, how surely, and which of them have to be made more often."""

from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, by_joint_flips, judge
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.permutation.config import OVERALL, Permutation
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.features import Feature, apart
from conceptseg.study.permutation.survey import Variant
from conceptseg.study.shared.studied import sampling_of

PairsOfParts = tuple[tuple[Feature, Feature], ...]


@dataclass(frozen=True)
class Importance:
    """One variant and one class (or all): the rise of 1 - IoU, and how sure it is.

    `test` asks whether `loss` is above `smallest`, one-sided, corrected over all parts and classes
    of the scheme. `ratio` is the loss after the exchange over that before it. `likely` and `border`
    are the rises of the other losses. `repeats` exchanges were made, of `images`.
    """

    variant: Variant
    class_name: str
    loss: Estimate
    test: Test
    smallest: float
    ratio: float
    likely: float
    border: float
    images: int
    repeats: int

    @property
    def detectable(self) -> float:
        """The loss that the test would have shown, four times in five; nan where it is more than
        all of the IoU that there is."""
        return self.smallest + self.test.detectable


UNDECIDED: Key[tuple[int, ...]] = Key("undecided", tuple)
CHOSEN_PARTS: Key[PairsOfParts] = Key("chosen parts", tuple)
IMPORTANCES: Key[tuple[Importance, ...]] = Key("importances", tuple)


def find_undecided(study: Permutation, context: Context, known: Known) -> Known:
    """Places of the variants whose 99 % interval over all classes holds the smallest effect.

    What does nothing at all in any exchange is decided, and so is what nothing is drawn for.
    """
    deltas = known[DELTAS]
    class_ids = usable(study, context, deltas)
    sampling = counting(study, context, deltas)
    places = []
    for place, variant in enumerate(deltas.variants):
        rows, values = deltas.rises(place, class_ids)
        if variant.once or not values.any():
            continue
        loss = estimate(values, sampling.at(rows), 0.99)
        if loss.ci and not loss.excludes(study.smallest_effect):
            places.append(place)
    return UNDECIDED(tuple(places))


def choose_pairs(study: Permutation, context: Context, known: Known) -> Known:
    """All pairs that share nothing among the swapped parts of largest mean effect."""
    deltas = known[DELTAS]
    ranked = sorted(
        (-float(deltas.rises(place, study.class_ids(context))[1].mean(1).mean()), place)
        for place, variant in enumerate(deltas.variants)
        if variant.scheme == "swap" and variant.feature.kind != "units"
    )
    parts = [deltas.variants[place].feature for _, place in ranked]
    pairs = [(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :] if apart(a, b)]
    return CHOSEN_PARTS(tuple(pairs[: study.pairs * (study.pairs - 1) // 2]))


def assess(study: Permutation, context: Context, known: Known) -> Known:
    """Every variant for all classes together and for each class, corrected scheme by scheme."""
    deltas = known[DELTAS]
    class_ids = usable(study, context, deltas)
    sampling = counting(study, context, deltas)
    result: list[Importance] = []
    for scheme in dict.fromkeys(variant.scheme for variant in deltas.variants):
        cases = [
            (place, name, own, *deltas.rises(place, own))
            for place, variant in enumerate(deltas.variants)
            if variant.scheme == scheme
            for name, own in (
                (OVERALL, class_ids),
                *((context.model.classes[c], (c,)) for c in class_ids),
            )
        ]
        cases = [case for case in cases if len(case[3])]
        asked = [
            Question(values.mean(1) - study.smallest_effect, sampling.at(rows))
            for *_, rows, values in cases
        ]
        tests = judge(asked, side="greater", seed=context.seed, policy=by_joint_flips)
        for (place, name, own, rows, values), test in zip(cases, tests, strict=True):
            clean = finite_mean(deltas.clean[rows][:, None, list(own)], 2)
            loss, before = reported(values, clean, sampling.at(rows)), float(clean.mean())
            result.append(
                Importance(
                    deltas.variants[place],
                    name,
                    loss,
                    test.capped(1 - before - study.smallest_effect),
                    smallest=study.smallest_effect,
                    ratio=(before + loss.value) / before if before > 1e-9 else float("nan"),
                    likely=_mean(deltas.extra[rows, place, 0][:, list(own)]),
                    border=_mean(deltas.extra[rows, place, 1][:, list(own)]),
                    images=len(rows),
                    repeats=1 if deltas.variants[place].once else values.shape[1],
                )
            )
    return IMPORTANCES(tuple(result))


def reported(values: np.ndarray, clean: np.ndarray, sampling: Sampling) -> Estimate:
    """Mean of values [m, r], rises of the losses `clean` [m, 1], and the interval of reports.

    Most images may lose nothing and a rare one all its IoU: a set without that one does not say how
    rare it is, so the interval also allows for it (:meth:`Sampling.bounded`), an image like
    those losing at most the largest IoU of all, and gaining at most the largest loss.
    """
    bounds = (-float(clean.max()), 1 - float(clean.min()))
    seldom = sampling.bounded(values.mean(1), *bounds)
    found = estimate(values, sampling).joined(seldom)
    # Wider intervals may reach beyond what there is: no IoU falls or rises by more than 1.
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def estimate(values: np.ndarray, sampling: Sampling, level: float = 0.95) -> Estimate:
    """Mean of values [m, r] with the interval when groups and repeats are drawn anew.

    Both are drawn, with replacement, so that it holds over new images and new exchanges.

    Source: Owen 2007, "The pigeonhole bootstrap".
    """
    sums = np.stack([sampling.sums(column) for column in values.T], 1)
    size = sampling.sums(np.ones(len(values)))
    rng = np.random.default_rng(sampling.seed)
    picks = rng.integers(0, sampling.n, (sampling.draws, sampling.n))
    repeats = rng.integers(0, values.shape[1], (sampling.draws, values.shape[1]))
    drawn = sums[picks[:, :, None], repeats[:, None]].sum((1, 2))
    drawn /= size[picks].sum(1) * values.shape[1]
    return sampling.of_draws(values.mean(1).mean(), drawn, level)


def counting(study: Permutation, context: Context, deltas: Deltas) -> Sampling:
    """What intervals and tests count the images as."""
    return sampling_of(context, deltas.ids, study.unit, (context.seed, 31), draws=1000)


def usable(study: Permutation, context: Context, deltas: Deltas) -> tuple[int, ...]:
    """The classes that enough images hold. Raises InputError where there is none."""
    wanted = study.class_ids(context)
    held = {c: int(np.isfinite(deltas.clean[:, c]).sum()) for c in wanted}
    enough = tuple(c for c in wanted if held[c] >= study.min_images)
    if not enough:
        most = max(wanted, key=lambda c: held[c])
        raise InputError(
            f"{context.manifest.where}: no class is in {study.min_images} of the "
            f"{len(deltas.ids)} images that are permuted ({context.model.classes[most]!r} is in "
            f"most, {held[most]}); raise images, give more masks, or lower min_images"
        )
    return enough


def _mean(values: np.ndarray) -> float:
    """Mean of what is finite; nan where nothing is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")

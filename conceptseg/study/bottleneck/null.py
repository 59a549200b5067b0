"""How often noise is called a better predictor of quality, and slices of any images are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.evaluate import SETS, Fitted, flagging, standings
from conceptseg.study.bottleneck.findings import flag_findings, slice_finding, standing_findings
from conceptseg.study.bottleneck.judge import rate, search_of
from conceptseg.study.bottleneck.measure import MEASURED, Measure
from conceptseg.study.bottleneck.plan import warm_maps
from conceptseg.study.bottleneck.regress import Features, crossed
from conceptseg.study.bottleneck.search import Condition, search_slices
from conceptseg.study.bottleneck.slices import judged_slices
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, any_evidence, subset

IMAGES, NOISES, COLUMNS, DRAWN, VALUES = 150, 10, 6, 80, 8
"""Images, sets of features of noise with so many columns, images of a draw, and random columns."""


@dataclass(frozen=True)
class Bank:
    """Real qualities [n] of images, and what is predicted of them from noise [s, n]."""

    study: Bottleneck
    quality: np.ndarray
    predicted: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    keys = {"regressors": ("ridge",), "repeats": 1, "flip": False, "map_images": 4}
    study, context = bench.ready("bottleneck", keys, network="weak", n=IMAGES, seed=7000 + seed)
    assert isinstance(study, Bottleneck)
    known = bench.known_after(study, context, Measure, but=(warm_maps,))
    rated, rng = rate(study, context, known[MEASURED]), np.random.default_rng(seed)
    made = []
    for _ in range(NOISES):
        features = Features(rng.normal(size=(len(rated.quality), COLUMNS)), 0)
        own = crossed(search_of(study), features, rated.quality, rated.fold_groups, study.folds, 1)
        made.append(own.predicted[0])
    return Bank(study, rated.quality, np.stack(made))


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Predictions are dealt to the sets of features image by image, and columns to the images."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rows = subset(rng, len(made.quality), DRAWN)
        ids = tuple(f"i{row:03d}" for row in rows.tolist())
        sampling, quality = Sampling(ids, ids, "images", number, 100), made.quality[rows]
        dealt = made.predicted[np.argsort(rng.random((DRAWN, NOISES)), 1)[:, :4].T, rows]
        scores = {name: one[None] for name, one in zip(SETS, dealt, strict=False)}
        fitted = {name: Fitted(one, (), ("ridge",)) for name, one in scores.items()}
        standing = standings(fitted, dealt[3:], quality, sampling, number)
        options = {"below": None, "budget": made.study.budget, "reference": "confidence"}
        flags = flagging({**scores, "raw": dealt[3:]}, quality, sampling, **options)  # type: ignore[arg-type]
        kinds = {("metadata", f"c{q}"): rng.random(DRAWN) < 0.3 for q in range(VALUES)}
        least = made.study.min_slice
        slices = judged_slices(kinds, quality, dealt[3], sampling, least=least, seed=number)
        conditions = [Condition(name, name, members) for (_, name), members in kinds.items()]
        options = {"length": made.study.conditions, "least": least, "seed": number}
        searched = search_slices(conditions, quality, dealt[3], sampling, **options)  # type: ignore[arg-type]
        found = [slice_finding(one) for one in slices if one.test.passed]
        yield (
            any_evidence(standing_findings(standing)),
            any_evidence(flag_findings(made.study, flags)),
            any_evidence(found),
            any_evidence([slice_finding(one) for one in searched if one.test.passed]),
        )


SELFTEST = Selftest(
    claims=(
        Claim(
            "quality is predicted better, or worse, than from confidence (signs of images, Holm)",
            "predictions of real qualities from noise, dealt to the feature sets image by image",
            "both feature sets",
        ),
        Claim(
            "failures are flagged better, or worse, than by confidence (draws of images, Holm)",
            "the same",
            "both feature sets",
        ),
        Claim(
            "a slice is segmented worse, or better (exchanged qualities, largest of all)",
            "columns whose values are dealt to the images at random",
            "all slices of a run",
        ),
        Claim(
            "a slice of joined conditions is segmented worse, or better (judged on other images)",
            "the same columns, of which the search may join three",
            "all slices that are judged",
        ),
    ),
    draws=draws,
    seconds=40,
    power="it says how well quality can be told, and nothing of context",
)

"""How often maps of noise are called better than each other, or said to see a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg import catalogue
from conceptseg.engine.contract import Context
from conceptseg.result.saved import Result
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.findings import findings
from conceptseg.study.saliency.judge import JUDGED, Judged, join_cases
from conceptseg.study.saliency.standing import CHANCE, MASK_COPY, STANDING, assess
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, subset

MAPS, METHODS, CASES, DRAWN = 24, 8, 24, 12
PRIMARY = "prediction_preserved"
METRICS = (PRIMARY, "image_preserved", "cbl")


@dataclass(frozen=True)
class Bank:
    """What metrics say of maps of noise in cases of real images."""

    study: Saliency
    context: Context
    judged: Judged


def bank(bench: Bench, seed: int) -> Bank:
    noise = [{"kind": "random_map", "seed": 100 * seed + number} for number in range(MAPS)]
    keys = {
        "compare": tuple(noise),
        "metrics": METRICS,
        "primary": PRIMARY,
        "images": CASES,
        "classes_per_image": 1,
        "sanity_images": 1,
        "gallery": 0,
    }
    scenes = {"format": "planted", "context": "with", "pair_share": 0.4}
    study, context = bench.ready("saliency", keys, scenes=scenes, n=80, seed=3000 + seed)
    assert isinstance(study, Saliency)
    known = bench.known_after(study, context, join_cases)
    return Bank(study, context, known[JUDGED])


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Some of the maps in some of the cases: one stands for the copy of the mask."""
    made = bank(bench, seed)
    entry = catalogue.entry("explainers", "vanilla_saliency")
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        drawn = _drawn(made.judged, rng)
        context = replace(made.context, seed=number)
        standing = assess(made.study, context, JUDGED(drawn))[STANDING]
        kinds = {name: entry for name in drawn.methods if name not in (MASK_COPY, CHANCE)}
        claimed = findings(standing, made.study.primary_label, made.study.insensitive, kinds)
        names = {one.evidence for one in claimed if one.standing == "evidence"}
        yield "against" in names, "context" in names


def _drawn(judged: Judged, rng: np.random.Generator) -> Judged:
    """Some cases; in each of them the maps are dealt to the methods at random."""
    rows = subset(rng, len(judged.cases), DRAWN)
    dealt = np.argsort(rng.random((DRAWN, len(judged.methods))), 1)[:, : METHODS + 2]
    methods = (MASK_COPY, CHANCE, *(f"noise {number}" for number in range(METHODS)))
    return replace(
        judged,
        cases=tuple(judged.cases[row] for row in rows.tolist()),
        methods=methods,
        values=judged.values[rows[:, None], dealt],
        blank=judged.blank[rows[:, None], dealt],
        chance=judged.chance[rows],
    )


def _found(result: Result) -> bool:
    return any(one.evidence == "context" for one in result.findings)


SELFTEST = Selftest(
    claims=(
        Claim(
            "a method is better than a copy of the mask (signs of images, Holm)",
            "maps of noise held against other maps of noise, by real metrics on real images",
            "all methods in the primary metric",
        ),
        Claim(
            "a method sees the known context (signs of images, Holm)",
            "maps of noise, of which the context holds as much as of the area",
            "all methods",
        ),
    ),
    draws=draws,
    power=Power(
        "a method's map of digit 3 lies on the stripes",
        {
            "compare": ("vanilla_saliency", "integrated_gradients", "prediction_mask"),
            "metrics": (PRIMARY, "cbl"),
            "primary": PRIMARY,
            "images": 12,
            "sanity_images": 1,
            "gallery": 0,
        },
        _found,
        classes=("digit 3",),
    ),
)

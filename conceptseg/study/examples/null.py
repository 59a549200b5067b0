"""How often prototypes and neighbours are said to tell outcomes that were dealt at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.stats.estimate import Sampling
from conceptseg.study.examples.assess import (
    FORETOLD,
    LISTED,
    PORTRAITS,
    Objects,
    find_neighbours,
    list_objects,
    portray,
)
from conceptseg.study.examples.config import Examples
from conceptseg.study.examples.findings import findings
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, any_evidence

IMAGES, WRONG = 90, 0.3
"""Scenes, and the share of their objects that is called wrong."""
CLASSES = ("digit 3", "digit 9")


@dataclass(frozen=True)
class Bank:
    """The objects of real scenes."""

    study: Examples
    context: Context
    objects: Objects


def bank(bench: Bench, seed: int) -> Bank:
    keys = {"regions": "labelled", "unit": "image", "min_objects": 20}
    scenes = {"format": "planted", "context": "balanced", "pair_share": 1.0}
    options = {"network": "biased", "scenes": scenes, "n": IMAGES, "classes": CLASSES}
    study, context = bench.ready("examples", keys, seed=11_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Examples)
    known = bench.known_after(study, context, list_objects)
    return Bank(study, context, known[LISTED])


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Which objects are wrong is dealt at random; all of the study's conclusions follow."""
    made = bank(bench, seed)
    ids, classes = made.objects.ids, made.context.model.classes
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        wrong = (rng.random(len(ids)) < WRONG).astype(np.int64)
        sampling = Sampling(ids, ids, "images", (number, 47), 200)
        objects = LISTED(replace(made.objects, wrong=wrong, sampling=sampling))
        context = replace(made.context, seed=number)
        known = portray(made.study, context, objects)
        known |= find_neighbours(made.study, context, objects)
        found = findings(known[PORTRAITS], known[FORETOLD], classes, made.study.regions)
        yield (
            any_evidence([one for one in found if one.evidence == "standing"]),
            any_evidence([one for one in found if one.evidence == "foretell"]),
        )


SELFTEST = Selftest(
    claims=(
        Claim(
            "objects like a prototype are wrong more, or less, often (signs of images, Holm)",
            "real objects, of which any three in ten are called wrong",
            "all prototypes of all classes",
        ),
        Claim(
            "neighbours foretell a wrong object better, or worse, than doubt (95 % interval)",
            "the same: neither tells anything",
            "the one claim of a run",
        ),
    ),
    draws=draws,
    power="it says which objects are alike, and nothing of context",
)

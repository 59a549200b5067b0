"""How often regions are called outliers, and prototypes errors, where nothing is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.stats.estimate import Sampling
from conceptseg.study.prototypes.assess import (
    GROUPED,
    Grouped,
    foretell,
    group,
    p_values,
    prototypes_of,
)
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.findings import findings
from conceptseg.study.prototypes.regions import (
    CALIBRATES,
    FITTED,
    JUDGED,
    LISTED,
    Regions,
)
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, subset

IMAGES, WRONG, FITS = 180, 0.3, 2
"""Scenes; the share of their regions that is called wrong; and mixtures that draws share."""
CLASSES = ("digit 3", "digit 9")
SCENES = {"format": "planted", "context": "balanced", "pair_share": 1.0}


@dataclass(frozen=True)
class Bank:
    """The regions of real scenes, and what they were grouped into."""

    study: Prototypes
    context: Context
    regions: Regions
    grouped: Grouped


def bank(bench: Bench, seed: int) -> Bank:
    """Of `biased`, whose digits have two ways to be decided each; of three, all are tested."""
    keys = {"unit": "image", "counts": (3,), "min_regions": 10}
    options = {"network": "biased", "scenes": SCENES, "n": IMAGES, "classes": CLASSES}
    study, context = bench.ready("prototypes", keys, seed=15_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Prototypes)
    known = bench.known_after(study, context, group)
    return Bank(study, context, known[LISTED], known[GROUPED])


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """One image is judged by all others, or half by half; and outcomes are dealt to regions."""
    for which in range(FITS):
        made = bank(bench, 1000 * which + seed)
        for number in range(which, count, FITS):
            rng = np.random.default_rng([seed, number])
            yield claims(made, rng, number)


def claims(made: Bank, rng: np.random.Generator, number: int) -> Sequence[bool]:
    """Of one draw. All regions are right where outliers are asked for, so all are exchangeable; one
    image is judged there, for of many with as few that calibrate no outlier could be shown."""
    regions, ids = made.regions, made.regions.ids
    sampling = Sampling(ids, ids, "images", (number, 83), 200)
    right = replace(
        regions,
        part=dealt_anew(regions, rng, 1),
        sampling=sampling,
        wrong=np.zeros(len(ids), np.int64),
    )
    outliers = p_values(right, made.grouped.unlikely).outlier.any()
    groups = len({g for g, p in zip(regions.dealt, regions.part, strict=True) if p != FITTED})
    wrong = (rng.random(len(ids)) < WRONG).astype(np.int64)
    own = replace(right, wrong=wrong, part=dealt_anew(regions, rng, groups // 2))
    placed = p_values(own, made.grouped.unlikely)
    told = foretell(made.study, own, made.grouped.unlikely, placed, number)
    grouped = replace(
        made.grouped,
        prototypes=prototypes_of(
            made.study, own, made.grouped.mixtures, made.grouped.component, number
        ),
    )
    found = findings(own, grouped, placed, told, made.context.model.classes)
    shown = {one.evidence for one in found if one.standing == "evidence"}
    return bool(outliers), "standing" in shown, "rare" in shown, "foretell" in shown


def dealt_anew(regions: Regions, rng: np.random.Generator, judged: int) -> np.ndarray:
    """Parts [m] in which so many groups are judged, and all others that no mixture was fitted to
    calibrate."""
    dealt = np.array(regions.dealt)
    names = np.unique(dealt[regions.part != FITTED])
    taken = np.isin(dealt, names[subset(rng, len(names), judged)])
    return np.where(regions.part == FITTED, FITTED, np.where(taken, JUDGED, CALIBRATES))


SELFTEST = Selftest(
    claims=(
        Claim(
            "a region is an outlier (place among groups that calibrate, Benjamini-Hochberg)",
            "real regions, of which those of one image, drawn at random, are judged by all others",
            "all regions of the image",
        ),
        Claim(
            "regions of a prototype are wrong more, or less, often (signs of images, Holm)",
            "real regions, of which any three in ten are called wrong",
            "all prototypes of all classes",
        ),
        Claim(
            "rare regions are wrong more often (signs of images, and dealt within classes)",
            "the same",
            "the one claim of a run",
        ),
        Claim(
            "being unlikely foretells a wrong region better, or worse, than doubt (95 % interval)",
            "the same: neither tells anything",
            "the one claim of a run",
        ),
    ),
    draws=draws,
    seconds=25,
    power="it says in which ways classes are decided; the audit asks whether these are context",
)

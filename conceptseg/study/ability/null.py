"""How often a layer's reading is called better than an output that is exactly as good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.network.label_map import label_map
from conceptseg.stats.estimate import Sampling
from conceptseg.study.ability.assess import Assessed, estimates, levels
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.findings import better, forecast
from conceptseg.study.ability.read import ANSWERING, VARIANTS, Abilities, area, scored
from conceptseg.study.shared.nulls import (
    Bench,
    Claim,
    Selftest,
    all_batches,
    any_evidence,
    noisy,
    subset,
)
from conceptseg.study.shared.overlap import without_small

COPIES, IMAGES, SPREAD, LAYERS = 12, 120, 0.15, 3
DRAWN = 60
"""Images of one draw."""


@dataclass(frozen=True)
class Bank:
    """Of `COPIES` noisy copies of each of n images what the network predicts: `dice` and `areas`
    [r, n, k], `confidence` [r, n]; `true_areas` [n, k]."""

    study: Ability
    context: Context
    dice: np.ndarray
    areas: np.ndarray
    confidence: np.ndarray
    true_areas: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    keys = {"smallest_effect": 0.0, "unit": "image"}
    study, context = bench.ready("ability", keys, n=IMAGES, seed=5000 + seed)
    assert isinstance(study, Ability)
    k, rng = len(context.model.classes), np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {}
    for batch in all_batches(context):
        assert batch.labels is not None
        truth = without_small(batch.labels, k, study.min_share)
        own: dict[str, list[np.ndarray]] = {"dice": [], "areas": [], "confidence": []}
        for _ in range(COPIES):
            with torch.no_grad():
                p = context.model(noisy(batch.images, SPREAD, rng)).softmax(1)
            own["dice"].append(scored(label_map(p), truth, k))
            own["areas"].append(area(label_map(p), truth, k))
            own["confidence"].append(p.amax(1).mean((1, 2)).double().numpy())
        for name, each in own.items():
            parts.setdefault(name, []).append(np.stack(each))
        parts.setdefault("true_areas", []).append(area(truth, truth, k)[None])
    found = {name: np.concatenate(each, 1) for name, each in parts.items()}
    return Bank(study, context, **{**found, "true_areas": found["true_areas"][0]})


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Output and layers are predictions of copies that are dealt to them, image by image."""
    made = bank(bench, seed)
    classes = made.context.model.classes
    for number in range(count):
        abilities = _dealt(made, np.random.default_rng([seed, number]))
        sampling = Sampling(abilities.ids, abilities.ids, "images", number, 200)
        held = np.isfinite(abilities.output).sum(0) >= made.study.min_images
        class_ids = tuple(np.flatnonzero(held).tolist())
        assessed = Assessed(
            class_ids,
            sampling,
            levels(made.study, abilities, class_ids, sampling, number),
            (),
            (),
            (0, 0, 0),
            0,
            {},
            estimates(abilities, class_ids, sampling),
            len(abilities.ids),
        )
        yield any_evidence(better(assessed, classes)), any_evidence([forecast(assessed)])


def _dealt(made: Bank, rng: np.random.Generator) -> Abilities:
    rows = subset(rng, made.dice.shape[1], DRAWN)
    copy = np.argsort(rng.random((DRAWN, COPIES)), 1)
    k, layers = made.dice.shape[2], tuple(f"layer {place}" for place in range(LAYERS))
    dice = np.full((DRAWN, len(VARIANTS), LAYERS + 1, k), np.nan)
    areas = np.full((DRAWN, len(ANSWERING), LAYERS + 1, k), np.nan)
    for place in range(LAYERS + 1):
        dice[:, 0, place] = made.dice[copy[:, 1 + place], rows]
        areas[:, 0, place] = made.areas[copy[:, 1 + place], rows]
    agreement = made.confidence[copy[:, 5], rows]
    return Abilities(
        ids=tuple(f"i{row:03d}" for row in rows.tolist()),
        layers=(*layers, "position"),
        dice=dice,
        output=made.dice[copy[:, 0], rows],
        agreement=np.repeat(agreement[:, None], LAYERS + 1, 1),
        confidence=made.confidence[copy[:, 6], rows],
        areas=areas,
        output_areas=made.areas[copy[:, 0], rows],
        true_areas=made.true_areas[rows],
        units={},
        unit_rows=np.empty(0, np.int64),
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "what follows a layer loses a class (joint flips of signs over images)",
            "outputs and layers' readings are predictions of noisy copies of an image, dealt at "
            "random; no difference is too small to count",
            "all layers and classes",
        ),
        Claim(
            "agreement tells quality better, or worse, than confidence (95 % interval)",
            "both are the confidence in noisy copies of an image, dealt at random",
            "the one claim of a run",
        ),
    ),
    draws=draws,
    seconds=40,
    power="it says where classes can be read, and nothing of context",
)

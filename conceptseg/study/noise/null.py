"""How often an order that is as random as the one it is set against is said to beat it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from conceptseg.catalogue import choice_labels
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.study.noise.assess import ASSESSED, assess
from conceptseg.study.noise.conclude import findings
from conceptseg.study.noise.config import OWN, PLAIN, NoiseStudy
from conceptseg.study.noise.curves import CURVES, Curves, Judge
from conceptseg.study.shared.nulls import (
    Bench,
    Claim,
    Selftest,
    all_batches,
    any_evidence,
    subset,
)

IMAGES, DRAWN = 40, 20
"""Scenes, and those of one draw."""
METHODS = (OWN, *choice_labels(PLAIN))


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Each scene's random orders are dealt out anew to the methods' names."""
    # The digits are seen with nine in ten pixels visible: fewer leave nothing to differ in.
    keys = {"points": 10, "visible": 0.9, "fills": ("blur", "grey"), "unit": "image"}
    scenes = {"format": "planted", "context": "balanced", "pair_share": 1.0}
    study, context = bench.ready("noise", keys, seed=14_000 + seed, scenes=scenes, n=IMAGES)
    assert isinstance(study, NoiseStudy)
    judge, dice, classes = Judge(study), list[np.ndarray](), list[int]()
    for batch in all_batches(context):
        for image, labels in zip(batch.images, batch.labels, strict=True):  # type: ignore[arg-type]
            scene = Scene(context.model, image[None], batch_size=32)
            classes.append(int(labels[labels > 0].mode().values))
            source = torch.Generator().manual_seed(len(classes))
            orders = torch.rand(len(METHODS), 1, *image.shape[1:], generator=source)
            target = Target(classes[-1])
            dice.append(np.stack([judge.curves_of(scene, target, one) for one in orders]))
    every, ids = np.stack(dice), [one.id for one in context.manifest.samples]
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rows = subset(rng, IMAGES, DRAWN)
        dealt = np.stack([every[row][rng.permutation(len(METHODS))] for row in rows])
        cases = tuple((ids[row], classes[row]) for row in rows)
        curves = Curves(cases, METHODS, dealt, np.zeros((len(rows), 2)), {}, {}, {})
        known = assess(study, replace(context, seed=number), CURVES(curves))
        yield (any_evidence(findings(study, known[ASSESSED], context.model.classes)),)


SELFTEST = Selftest(
    claims=(
        Claim(
            "U-Noise's order beats, or is beaten by, a plain one (signs of images, Holm)",
            "random orders of pixels, dealt to the methods' names",
            "all classes, plain maps and fills",
        ),
    ),
    draws=draws,
    power="it asks which order of pixels holds a prediction, and nothing of context",
)

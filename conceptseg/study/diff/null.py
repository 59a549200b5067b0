"""How often two networks that differ by chance alone are said to differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.concepts.finders.nmf import Nmf
from conceptseg.config import ModelConfig
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.diff.assess import MOVED, SHIFTS, judge_classes, judge_concepts
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.measure import MEASURED, PIXELS
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, subset

IMAGES, DRAWN = 100, 50
CLASSES = ("digit 3", "digit 9", "digit 5")


@dataclass(frozen=True)
class Bank:
    """What two networks that do differ predict, and owe to concepts, in real images."""

    study: Diff
    context: Context
    known: Known


def bank(bench: Bench, seed: int) -> Bank:
    """Of `biased` and `clean`, whose digits 3 and 9 differ in half of the images."""
    keys = {
        "other": ModelConfig(source="planted", name="clean"),
        "finder": Nmf(counts=(12,), max_rows=4000),
        "images": IMAGES,
        "erase_images": IMAGES,
        "recover_images": 8,
        "unit": "image",
        "smallest_effect": 0.0,
    }
    scenes = {"format": "planted", "context": "balanced", "pair_share": 0.8}
    options = {"network": "biased", "scenes": scenes, "n": IMAGES, "classes": CLASSES}
    study, context = bench.ready("diff", keys, seed=14_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Diff)
    context = replace(context, layer="bottleneck")
    known = bench.known_after(study, context, judge_concepts, but=(judge_classes,))
    return Bank(study, context, known)


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """In each image a coin says which of the two is called the other one."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        study = made.study.model_copy(update={"seed": number})
        context = replace(made.context, seed=number)
        known = made.known | swapped(made.known, rng)
        moved = judge_classes(study, context, known)[MOVED]
        shifts = judge_concepts(study, context, known)[SHIFTS]
        yield any(one.shown for one in moved), any(one.shown for one in shifts)


def swapped(known: Known, rng: np.random.Generator) -> Known:
    """Some images, in each of which the networks are exchanged or not."""
    ids = known[PIXELS].ids
    rows = subset(rng, len(ids), DRAWN)
    turn = rng.random(len(rows)) < 0.5
    made = Known()
    for key in (PIXELS, MEASURED):
        arrays = {}
        for name in known[key].tables[ids[0]]:
            values = known[key].column(name)[rows].copy()
            if name in ("iou", "effect", "outside", "on", "mean"):
                values[turn] = values[turn][:, ::-1]
            elif name == "gained":
                values[turn] = known[key].column("lost")[rows][turn]
            elif name == "lost":
                values[turn] = known[key].column("gained")[rows][turn]
            arrays[name] = values
        made |= key(SampleTable.batch([ids[row] for row in rows], arrays))
    return made


SELFTEST = Selftest(
    claims=(
        Claim(
            "a class's IoU changed (joint flips of signs over images)",
            "two networks that differ, in each image called one or the other by a coin; no change "
            "is too small to count",
            "all classes of a run",
        ),
        Claim(
            "a class owes more or less to a concept (joint flips of signs over images)",
            "the same",
            "all concepts and classes of a run",
        ),
    ),
    draws=draws,
    seconds=60,
    power="it names concepts by the classes that they lie on; the audit asks whether that is "
    "context",
)

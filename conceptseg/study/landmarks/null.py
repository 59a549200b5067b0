"""How often maps of noise, which follow nothing, are said to follow thin structures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.stats.estimate import Sampling
from conceptseg.study.landmarks.assess import FOLLOWED, LISTED, Listed, assess
from conceptseg.study.landmarks.conclude import findings
from conceptseg.study.landmarks.config import Landmarks
from conceptseg.study.landmarks.look import RADII, marks_of, measured
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, all_batches, any_evidence, subset

IMAGES, MAPS, DRAWN = 80, 12, 40
"""Scenes, maps of noise of each, and the scenes of one draw."""
CLASSES = ("digit 3", "digit 9")


@dataclass(frozen=True)
class Bank:
    """The landmarks of drawn digits, [m]: whose scene each is, and `along` [m, MAPS], its
    anisotropy in maps of noise."""

    study: Landmarks
    context: Context
    owner: np.ndarray
    class_id: np.ndarray
    kind: np.ndarray
    along: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    from scipy.ndimage import gaussian_filter

    keys = {"regions": "labelled", "unit": "image", "thickest": 0.25, "slender": 1.0}
    scenes = {"format": "planted", "context": "balanced", "pair_share": 1.0}
    options = {"scenes": scenes, "n": IMAGES, "classes": CLASSES}
    study, context = bench.ready("landmarks", keys, seed=12_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Landmarks)
    wanted, rng = study.class_ids(context), np.random.default_rng([seed, 61])
    owner, class_id, kind, along = list[int](), list[int](), list[int](), list[np.ndarray]()
    labels = np.concatenate([one.labels.numpy() for one in all_batches(context)])  # type: ignore[union-attr]
    for number, regions in enumerate(labels):
        marks = marks_of(study, regions, wanted, str(number))
        if not marks:
            continue
        # One map for all landmarks of a scene: what they share, the test has to bear.
        maps = np.abs(gaussian_filter(rng.normal(size=(MAPS, *regions.shape)), (0, 1, 1)))
        each = [measured(study, marks, np.stack([one] * len(marks))) for one in maps]
        owner += [number] * len(marks)
        class_id += [mark.class_id for mark in marks]
        kind += [mark.kind for mark in marks]
        along.append(np.stack([one["anisotropy"] for one in each], 1))
    scenes_of, classes, kinds = (np.array(one) for one in (owner, class_id, kind))
    return Bank(study, context, scenes_of, classes, kinds, np.concatenate(along))


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Of some scenes one map each, which has nothing to do with what is drawn there."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rows = np.isin(made.owner, subset(rng, IMAGES, DRAWN))
        taken = rng.integers(0, MAPS, IMAGES)[made.owner[rows]]
        context = replace(made.context, seed=number)
        known = assess(made.study, context, LISTED(_listed(made, rows, taken, number)))
        found = findings(known[FOLLOWED], made.context.model.classes)
        yield (any_evidence(found),)


def _listed(made: Bank, rows: np.ndarray, taken: np.ndarray, seed: int) -> Listed:
    owner, m = made.owner[rows], int(rows.sum())
    ids = tuple(f"{one:03d}" for one in owner.tolist())
    return Listed(
        ids,
        np.arange(m),
        made.class_id[rows],
        made.kind[rows],
        np.zeros((m, 2), np.int64),
        np.ones(m),
        made.along[np.flatnonzero(rows), taken],
        np.ones(m),
        np.ones((m, RADII)),
        Sampling(ids, ids, "images", (seed, 53), 200),
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "a class's structures are followed, or kept off (signs of images, Holm)",
            "smooth noise in place of each scene's attributions",
            "all classes and kinds of landmarks",
        ),
    ),
    draws=draws,
    power="it asks whether structures are followed, and nothing of context",
)

"""Each concept's influence on each class, and the test's own error there: fits of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.contract import CavLearner
from conceptseg.engine.fits import all_of
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import Discovery
from conceptseg.study.ace.pool import Pool, random_concepts
from conceptseg.study.ace.tcav import SIGNS, Influence, Tester

CALIBRATION_DRAWS = 199
FITTED = 5
"""Random concepts of each concept that calibrate the test of a CAV that has to be fitted."""


@dataclass(frozen=True)
class Tested:
    """The influence of a concept on a class, along paths and at the images themselves.

    `null_p` are p-values of random sets of segments as large as the concept.
    """

    influence: Influence
    local: Influence
    null_p: np.ndarray


@dataclass
class Classes:
    """What the tests of all classes take: segments, and of each class where they lie (`tags`).

    `paths` and `locals` of each class: gradients [n, 2, u] of its images, inside and outside of
    it, along paths and at the images. `repeats` random sets calibrate each test.
    """

    cav: CavLearner
    seed: int
    cav_seed: int
    draws: int
    repeats: int
    embedding: np.ndarray
    image: np.ndarray
    tags: Mapping[int, np.ndarray]
    paths: Mapping[int, np.ndarray]
    locals: Mapping[int, np.ndarray]
    _of: tuple[int, Tester, Tester] | None = field(default=None, repr=False)

    def testers(self, class_id: int) -> tuple[Tester, Tester]:
        """Of gradients along paths and at the images; those of the last class are kept."""
        if self._of is None or self._of[0] != class_id:
            pool = Pool.of(self.embedding, self.image, self.tags[class_id])
            along, at = (
                Tester(pool, each[:, 0], each[:, 1], self.cav, self.cav_seed)
                for each in (self.paths[class_id], self.locals[class_id])
            )
            self._of = class_id, along, at
        return self._of[1:]


def influences(
    study: Ace,
    discovery: Discovery,
    paths: Mapping[int, np.ndarray],
    seed: int,
) -> None:
    """Fill in the influence of each concept on each class that has `paths`, and its calibration."""
    cores: Sequence[np.ndarray] = [concept.core for concept in discovery.concepts]
    if not cores:
        return
    closed = isinstance(study.cav, Pattern)
    repeats = -(-study.calibration // len(cores))
    shared = Classes(
        study.cav,
        seed,
        study.seed,
        study.nulls if closed else min(study.nulls, SIGNS),
        repeats if closed else min(repeats, FITTED),  # each draw is a fit
        discovery.embedding,
        discovery.image,
        {class_id: discovery.tag(class_id) for class_id in paths},
        paths,
        {class_id: discovery.gradients[class_id] for class_id in paths},
    )
    items = [(class_id, q, core) for class_id in paths for q, core in enumerate(cores)]
    for (class_id, q, _), found in zip(items, all_of(tested, items, shared), strict=True):
        discovery.influence[class_id, q], discovery.local[class_id, q] = (
            found.influence,
            found.local,
        )
        before = discovery.null_p.get(class_id, np.zeros(0))
        discovery.null_p[class_id] = np.concatenate([before, found.null_p])


def tested(classes: Classes, class_id: int, number: int, core: np.ndarray) -> Tested:
    """One concept, number `number`, made of the segments `core`, against one class."""
    along, at = classes.testers(class_id)
    rng = np.random.default_rng([classes.seed, 2, class_id, number])
    rows, null = along.pool.rows(core), random_concepts(along.pool, core, classes.draws, rng)
    rng = np.random.default_rng([classes.seed, 3, class_id, number])
    return Tested(
        along.against(rows, null),
        at.against(rows, null[:SIGNS]),
        along.null_p(core, CALIBRATION_DRAWS, classes.repeats, rng),
    )

"""What was discovered: concepts, the segments that they are made of, and their influence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from conceptseg.concepts.segments import Segments
from conceptseg.data.draw import drawn
from conceptseg.engine.known import Key
from conceptseg.stats.estimate import Sampling
from conceptseg.study.ace.pool import TAGS, tags
from conceptseg.study.ace.tcav import Influence


@dataclass(frozen=True)
class Direction:
    """A unit vector [u] in a layer's space, and its component where the concept is absent.

    `absent` is the mean component of segments that are not the concept's, as they are in their
    images: what erasing sets.
    """

    vector: np.ndarray
    absent: float

    @classmethod
    def of(cls, step: np.ndarray, contrast: np.ndarray) -> Direction:
        """From a concept's step [u] and the contrast's embeddings in place [m, u]."""
        vector = step / max(float(np.linalg.norm(step)), 1e-300)
        return cls(vector, float(contrast.mean(0, dtype=np.float64) @ vector))


@dataclass(frozen=True)
class Concept:
    """A cluster of segments that survived, or the regions that a user drew, with their `label`.

    `members` rows of the pool, nearest to the centre first; `core` those that represent it (at
    most a few of one image); `direction` the unit CAV and its component where the concept is
    absent; `auc` held out by image or group; `agreement` cosine of the pattern and the ridge CAV.
    """

    number: int
    members: np.ndarray
    core: np.ndarray
    images: int
    stability: float
    auc: float
    agreement: float
    direction: Direction
    label: str = ""

    @property
    def id(self) -> str:
        return f"concept-{self.number}"

    @property
    def name(self) -> str:
        return self.label or f"concept {self.number}"


@dataclass(frozen=True)
class Discovery:
    """Concepts, and what they do to each class.

    `sampling` says what each image of `ids` counts as in tests: its group, or itself; `packed` are
    its segments, in few bytes (see :meth:`segments`).
    `influence[c, q]` of concept q on class c. Columns of the pool, one entry per segment:
    `embedding` [s, u] and, in place, `place` [s, u] (the same unless crops are embedded), `image`
    [s] index into `ids`, `given` [s] the number of the user's mask that it is (negative for
    superpixels), `share`, `ring`, `truth` [s, k]. Of each
    class, `class_images` [n] that hold it. `influence` is by the gradient along paths, `local` by
    the gradient at the images themselves, as TCAV was published; `gradients` [n, 2, u] are the
    local ones, inside and outside of the class's region.
    """

    sampling: Sampling
    packed: tuple[np.ndarray, ...]
    embedding: np.ndarray
    place: np.ndarray
    image: np.ndarray
    level: np.ndarray
    given: np.ndarray
    number: np.ndarray
    box: np.ndarray
    area: np.ndarray
    share: np.ndarray
    ring: np.ndarray
    truth: np.ndarray
    mean: np.ndarray
    choices: tuple[dict[str, float], ...]
    concepts: tuple[Concept, ...] = ()
    dropped: tuple[dict[str, Any], ...] = ()
    class_images: dict[int, np.ndarray] = field(default_factory=dict)
    gradients: dict[int, np.ndarray] = field(default_factory=dict)
    influence: dict[tuple[int, int], Influence] = field(default_factory=dict)
    local: dict[tuple[int, int], Influence] = field(default_factory=dict)
    published: dict[tuple[int, int], float] = field(default_factory=dict)
    null_p: dict[int, np.ndarray] = field(default_factory=dict)
    null_directions: tuple[Direction, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The images, in the order in which `image` counts them."""
        return self.sampling.ids

    @cached_property
    def position(self) -> dict[str, int]:
        """The place of each image in `ids`."""
        return {sample_id: place for place, sample_id in enumerate(self.ids)}

    def segments(self, sample_id: str) -> Segments:
        """The segments of an image, which were cut when the images were surveyed."""
        return Segments.unpacked(self.packed[self.position[sample_id]])

    def present(self, concept: Concept) -> float:
        """The mean component along a concept of the segments that represent it, in place."""
        core = self.place[concept.core].mean(0, dtype=np.float64)
        return float(core @ concept.direction.vector)

    def first_by_hash(self, images: Iterable[int], seed: int, most: int) -> set[str]:
        """The ids of at most so many of some images, drawn by hash."""
        names = (self.ids[i] for i in images)
        return set(drawn(seed, names, most))

    def tag(self, class_id: int) -> np.ndarray:
        """Where each segment lies with respect to a class, index into `TAGS`, [s]."""
        return tags(self.share[:, class_id], self.ring[:, class_id])

    def where(self, concept: Concept, class_id: int) -> dict[str, float]:
        """Share of a concept's core inside, in the ring around, and elsewhere than a class.

        Only images that hold the class count; all nan when no core segment lies in one.
        """
        held = np.isin(self.image[concept.core], self.class_images[class_id])
        tag = self.tag(class_id)[concept.core[held]]
        if not len(tag):
            return dict.fromkeys(TAGS, float("nan"))
        return {name: float((tag == t).mean()) for t, name in enumerate(TAGS)}


DISCOVERY = Key("discovery", Discovery)

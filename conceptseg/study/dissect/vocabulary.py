"""The concepts that units are compared with, in categories, and how a pixel's concept is coded."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Category:
    """Concepts of one kind, of which a pixel shows at most one.

    A category's map holds at each pixel a slot: 0..m-1 for its m concepts, m where the pixel is
    annotated but shows none of them, m + 1 where nothing is known (an ignored label, an image
    without a mask).
    """

    name: str
    concepts: tuple[str, ...]

    @property
    def rest(self) -> int:
        return len(self.concepts)

    @property
    def unknown(self) -> int:
        return len(self.concepts) + 1

    @property
    def slots(self) -> int:
        return len(self.concepts) + 2


@dataclass(frozen=True)
class Vocabulary:
    """All categories, and l concepts in all; the slots of the categories lie end to end."""

    categories: tuple[Category, ...]

    @cached_property
    def offsets(self) -> np.ndarray:
        """The number of each category's first slot, int [g]."""
        return np.cumsum([0, *(category.slots for category in self.categories)])[:-1]

    @property
    def slots(self) -> int:
        return sum(category.slots for category in self.categories)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the l concepts."""
        return tuple(name for category in self.categories for name in category.concepts)

    @cached_property
    def category(self) -> np.ndarray:
        """The index of each concept's category, int [l]."""
        return np.repeat(
            np.arange(len(self.categories)), [len(c.concepts) for c in self.categories]
        )

    @cached_property
    def slot(self) -> np.ndarray:
        """The slot of each concept among all, int [l]."""
        parts = [
            offset + np.arange(len(category.concepts))
            for offset, category in zip(self.offsets, self.categories, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)

    def kind(self, concept: int) -> str:
        """The name of a concept's category."""
        return self.categories[int(self.category[concept])].name

    def per_concept(self, by_slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From counts [..., s] over slots: those of each concept, and of all annotated pixels.

        Both [..., l]; a concept's annotated pixels are those of its category.
        """
        known = np.stack(
            [
                by_slot[..., offset : offset + category.slots - 1].sum(-1)
                for offset, category in zip(self.offsets, self.categories, strict=True)
            ],
            axis=-1,
        )
        return by_slot[..., self.slot], known[..., self.category]

    def mass(self, by_slot: np.ndarray) -> np.ndarray:
        """Pixels in all [...], annotated or not, from counts [..., s]: every category has all."""
        return by_slot[..., : self.categories[0].slots].sum(-1)

    def one_hot(self, maps: np.ndarray) -> np.ndarray:
        """Maps of slots, int [g, ...] -> bool [l, ...], whether each concept shows."""
        number = self.slot - self.offsets[self.category]
        return np.asarray(maps[self.category] == number.reshape(-1, *[1] * (maps.ndim - 1)))

    def annotated(self, maps: np.ndarray) -> np.ndarray:
        """Maps of slots, int [g, ...] -> bool [g, ...], whether each category is known there."""
        unknown = np.array([category.unknown for category in self.categories])
        return np.asarray(maps != unknown.reshape(-1, *[1] * (maps.ndim - 1)))

"""What finders of concepts and learners of concept vectors promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from conceptseg.catalogue import About
from conceptseg.strict import Strict

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Concepts:
    """Directions in the space of embeddings and which row belongs to which.

    `centres` [q, d] and, per row, `members` [m] (-1 for none) and `distances` [m] to its concept's
    centre; `stability` [q] in [0, 1]: how surely other seeds find the same concept again;
    `choices`: the numbers of concepts that were tried, each with its score.
    """

    centres: np.ndarray
    members: np.ndarray
    distances: np.ndarray
    stability: np.ndarray
    choices: tuple[dict[str, float], ...] = ()


class ConceptFinder(Strict, ABC):
    """Finds concepts among embeddings, without labels."""

    about: ClassVar[About]

    @abstractmethod
    def fit(self, embeddings: np.ndarray, images: np.ndarray, seed: int) -> Concepts:
        """Embeddings [m, d] of segments and the image that each comes from, int [m]."""


class CavLearner(Strict, ABC):
    """Learns a concept activation vector: from the contrast towards the concept."""

    about: ClassVar[About]

    @abstractmethod
    def fit(self, embeddings: np.ndarray, is_concept: np.ndarray, seed: int) -> np.ndarray:
        """Rows [m, d] and booleans [m] -> direction [d], not normalised, float64."""

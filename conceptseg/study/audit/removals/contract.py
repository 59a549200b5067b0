"""What can be taken out of a layer for a context, and how it is made.

A kind says for which cases it is there, at which layer, and on which images it may not be tried
because they chose it; of what the layer holds where the context lies and where it is absent it
makes a :class:`Removal`. All else (which images, passes, tests, tables) is common to all kinds.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.network.levels import Levels
from conceptseg.study.audit.case import Case


@dataclass(frozen=True)
class Ablation:
    """Case number `case`, what `kind` is taken out of which `layer` for it, beside how many
    `random` things, and the images on which that is tried: those that hold the context, and those
    that lack it. `count` kinds are tried of the case."""

    case: int
    kind: str
    class_id: int
    place: int
    margin: float
    layer: Levels
    count: int
    holding: tuple[str, ...]
    lacking: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.holding, *self.lacking)

    @property
    def random(self) -> int:
        """As many as one of them has to exceed for a p of 0.05 / `count`."""
        return random_ones(self.count)


@dataclass(frozen=True)
class Learnt:
    """Of a context: the layer's mean [u] `there`, where it lies, and `lacking`, over images that
    lack it; and `cells` [m, u] of all these images."""

    there: np.ndarray
    lacking: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Removal(ABC):
    """What is taken out of a layer, in words, and random things of the same make beside it, which
    are called `others`; `done` says what is done to it."""

    others: ClassVar[str]
    done: ClassVar[str]
    what: str

    @abstractmethod
    def __len__(self) -> int:
        """1 + r, itself and the random ones."""

    @abstractmethod
    def edited(self, activation: Tensor, rows: range) -> Tensor:
        """The activation [1, u, y, x] without it (row 0), or without a random one (rows 1 to r):
        [rows, u, y, x]."""


class Kind(ABC):
    """A way to take a context out of a layer. `line` is the line of evidence that it is part of:
    what stands in the same columns of the tables; `noun` says what is taken out."""

    name: ClassVar[str]
    noun: ClassVar[str]
    line: ClassVar[str] = "ablated"

    @abstractmethod
    def applies(self, case: Case, known: Known) -> bool:
        """Whether it is there for such a case."""

    def missing(self, case: Case, known: Known) -> str:
        """What it takes that is not there, of a case for which it is: then it is not tried."""
        return ""

    @abstractmethod
    def removal(
        self, one: Ablation, case: Case, learnt: Learnt, known: Known, rng: np.random.Generator
    ) -> Removal | str:
        """What is taken out, or why nothing can be."""

    def layer(self, context: Context, known: Known) -> Levels:
        return context.levels

    def spent(self, known: Known) -> frozenset[str]:
        """Images on which it may not be tried, because they chose it."""
        return frozenset()


def random_ones(count: int) -> int:
    """Random things beside each of so many kinds that are tried together: 20 count - 1, so that the
    chance of exceeding all of them by chance is 5 % over all kinds."""
    return 20 * count - 1

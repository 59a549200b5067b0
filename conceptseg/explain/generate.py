"""What a generator promises: an image as parameters in groups, of which nothing changed is itself.

A generator takes an image apart (`encode`) into groups of parameters that mean something, such as
the colour of the road. Parameters are in [-1, 1], in units of what is allowed; all zero renders the
image as it was. What can be changed only by choice has its `choices` instead of a slope.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from conceptseg.catalogue import About
from conceptseg.strict import Strict

if TYPE_CHECKING:
    from conceptseg.network.model import SegmentationModel


WHOLE = "image"
"""The region of parameters that no part of the image has to itself."""


@dataclass(frozen=True)
class Group:
    """Parameters that are changed together: an attribute of a region, at these places."""

    region: str
    attribute: str
    slots: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.attribute} of {self.region}"


@dataclass(frozen=True)
class Subject:
    """One image [1, c, h, w] in [0, 1] that is to be edited.

    `regions` [h, w] by name are disjoint, the one that is explained first. `limits` hold for each
    name what such regions look like in the data (:mod:`conceptseg.explain.looks`), [2, q], lowest
    and highest; `donors` other images [1, c, h, w] that show such a region in its place, with what
    they are called. `drawn` is what the data set made the image from, if it made it.
    """

    image: Tensor
    regions: Mapping[str, Tensor]
    limits: Mapping[str, np.ndarray] = field(default_factory=dict)
    donors: Mapping[str, Sequence[tuple[str, Tensor]]] = field(default_factory=dict)
    drawn: Any = None


class Code(ABC):
    """An image taken apart. `low` and `high` [d] bound its parameters; 0 lies between them."""

    groups: tuple[Group, ...]
    low: Tensor
    high: Tensor

    @abstractmethod
    def render(self, theta: Tensor) -> Tensor:
        """Images [m, c, h, w] of parameters [m, d]; zeros give the image bit for bit."""

    @abstractmethod
    def describe(self, theta: Tensor, group: Group) -> str:
        """What a group's parameters [d] change, in words: "18 % darker"."""

    def choices(self, group: Group) -> Tensor | None:
        """All parameters [q, d] of a group that is changed by choice; None where it has a slope."""
        return None

    def corners(self, group: Group) -> Sequence[Tensor]:
        """Parameters [d] of a group that are tried before its slope is followed."""
        return ()

    def recovered(self) -> Tensor | None:
        """What is left of the image [1, c, h, w] when it is taken apart and put together; None of
        what loses nothing. Edits are added to the image itself in either case."""
        return None

    def distance(self, theta: Tensor) -> Tensor:
        """How large edits [m, d] are: root mean square over the parameters that change, [m]."""
        moved = theta != 0
        return (theta.square().sum(1) / moved.sum(1).clamp(min=1)).sqrt()

    def masks(self, sets: Sequence[Sequence[Group]]) -> Tensor:
        """Booleans [m, d]: the parameters of each set of groups."""
        found = torch.zeros(len(sets), len(self.low), dtype=torch.bool, device=self.low.device)
        for row, groups in zip(found, sets, strict=True):
            for group in groups:
                row[list(group.slots)] = True
        return found


class Generator(Strict, ABC):
    """A way to change images. The fields are its parameters and nothing else."""

    about: ClassVar[About]

    @classmethod
    def name(cls) -> str:
        """What the generator is called in YAML: the name of its file."""
        return cls.__module__.rpartition(".")[2]

    @property
    def fitted(self) -> bool:
        """Whether it has to be fitted to images first (`fit`)."""
        return False

    @property
    def by_regions(self) -> bool:
        """Whether it edits what a region's mask covers, so that another mask moves the edit."""
        return False

    def check(self, model: SegmentationModel, drawn: Any) -> None:
        """Raise InputError where it cannot edit such images; `drawn` as in :class:`Subject`."""

    def fit(self, images: Sequence[Tensor], seed: int) -> dict[str, Tensor]:
        """What it learns of images [c, h, w] of one size, by name: numbers alone."""
        return {}

    @abstractmethod
    def encode(self, subject: Subject, fitted: Mapping[str, Tensor]) -> Code:
        """The image taken apart; `fitted` is what `fit` gave."""

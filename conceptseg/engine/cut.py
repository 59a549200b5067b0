"""How the samples of a pass are cut, and in which order their states are merged.

Samples are taken in batches of consecutive ones, and the batches are the leaves of a binary tree:
two and two are merged, then these, up to its root. A part is one block of that tree, 2^k batches
that no other block overlaps, so that how many parts there are changes nothing, to the bit; nor does
the order in which they are done. What the cut follows is the data and what a pass costs, never the
number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

WORK = 2.0**25
"""Pixels times passes of the network that a part should cost: 512 passes of 256 x 256 pixels."""
ON_DEVICE = 64
"""How much more than a CPU an accelerator does in the time of a part."""


class Mergeable(Protocol):
    """What can be merged with its like."""

    def merge(self, other: Self, /) -> Self: ...


S = TypeVar("S", bound=Mergeable)


@dataclass(frozen=True)
class Cut:
    """`images` samples in batches of `batch`, and 2^`level` batches in each part."""

    images: int
    batch: int
    level: int = 0

    @classmethod
    def of(cls, images: int, batch: int, wanted: float, parts: int | None = None) -> Cut:
        """Parts of `wanted` images, or about so many `parts`, rounded to blocks of the tree.

        Where not even a batch's images are wanted, batches are halved until they are, however many
        parts are asked for: these change nothing.
        """
        while batch > 1 and batch > wanted:
            batch = -(-batch // 2)
        each = images / parts if parts else wanted
        return cls(images, batch, max(0, int(math.log2(max(each, batch) / batch))))

    @property
    def images_per_part(self) -> int:
        return self.batch << self.level

    def parts(self) -> list[tuple[int, int]]:
        """Half-open ranges of consecutive samples, none empty."""
        return ranges(self.images, self.images_per_part)


def ranges(images: int, step: int) -> list[tuple[int, int]]:
    """Half-open ranges of so many samples each, the last one of what is left."""
    return [(start, min(start + step, images)) for start in range(0, images, step)]


def as_before(images: int, saved: Iterable[tuple[int, int]]) -> int | None:
    """Samples in each part of the cut of which most was saved; None where that cannot be told.

    So what an interrupted run has done is used by one with another batch size, which would cut
    otherwise. The largest parts, of several cuts of which as much was saved.
    """
    there = set(saved)
    steps = {stop - start for start, stop in there if stop < images or start == 0}
    done = {
        step: sum(stop - start for start, stop in there & set(ranges(images, step)))
        for step in steps
    }
    return max(done, key=lambda step: (done[step], step), default=None)


class Tree(Generic[S]):
    """Merges the states of `count` leaves, each put once, in any order.

    At most one state waits at each place of each level; put in order, one at each level.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: dict[tuple[int, int], S] = {}

    def put(self, number: int, state: S) -> None:
        """The state of leaf `number`, merged as far up as its neighbours are there."""
        level, place, count = 0, number, self._count
        while count > 1:
            other = place ^ 1
            if other < count:
                if (level, other) not in self._waiting:
                    break
                there = self._waiting.pop((level, other))
                state = there.merge(state) if other < place else state.merge(there)
            level, place, count = level + 1, place // 2, (count + 1) // 2
        self._waiting[level, place] = state

    def root(self, nothing: S) -> S:
        """All of them merged, when all were put; `nothing` where there are no leaves."""
        if not self._count:
            return nothing
        (state,) = self._waiting.values()
        return state

"""Counterfactual segments: the fewest parts of an image without which a region is not predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._masking import overlap
from conceptseg.explain.explainers._partition import hexagons, superpixels
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.regions import distance_to
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target

EXHAUSTIVE = 14
"""Up to so many segments all sets are tried, smaller ones first, where no budget is given: at most
2^14 passes."""
BUDGET = 2000
"""Passes of more segments, where none is given."""

Set = tuple[int, ...]


@technique(family="counterfactual", source="Singh et al. 2022, ISBI; search and form are ours")
class CounterfactualSegments(Explainer):
    """Smallest set of segments whose removal makes an event true: in how many of them a pixel is.

    The image is cut into K segments; to remove a set S of them is to put the fill in their place.
    The event is that `measure` of the target's region R falls below `below`: of `dice`, Dice of the
    class's prediction in the whole image with R, or of `kept`, the share of R that is predicted as
    the class. Sets are tried in the order of their size, and all of a size before any larger: those
    of the first size that makes the event true are the smallest there are, and up to `sets` of them
    are kept. The map is the share of the kept sets that hold a pixel's segment; in [0, 1], 0 where
    no set was found.

    All sizes are tried that `budget` passes allow; where none is given the search is exact up to 14
    segments, in at most 2^K passes, and has 2000 passes for more. Beyond, sets grow greedily, each
    time by the segment that lowers the measure most, until the event is true, and shrink again
    while it stays so: no segment of such a set can be put back. The smallest set may then be
    smaller by at most `gap` segments (:meth:`solve`). A second greedy set is sought without each
    segment of the first in turn.

    `where: context` never removes a pixel of R: what is found then is that the *surroundings*
    decide. With `anywhere` the trivial answer is the object itself, so :class:`Removed` says which
    share of the removed pixels lies inside of R, within `ring_px` of it, and elsewhere. A fill is
    an image that the network was not trained on; `fill: turned` takes the place's opposite in the
    same image, turned by half, and :meth:`solve` other images as donors, of which the median
    counts. Nothing is said of causes in the world.

    Source: Singh, Somani, Horsch and Prasad, "Counterfactual explainable gastrointestinal and
    colonoscopy image segmentation", ISBI 2022: its algorithm is not known to us, and this is our
    reading of its title; the search is that of Martens and Provost 2014 and Vermeire et al. 2022,
    arXiv:2004.07511.
    """

    segments: int = Field(
        12,
        ge=1,
        le=100,
        description="Segments that the image is cut into, K: so many at most, or 12. The search "
        "takes up to 2^K passes; beyond its budget K (K + 1) / 2 for each set.",
    )
    partition: Literal["hexagons", "slic"] = Field(
        "hexagons", description="Regular cells, or superpixels that follow the image."
    )
    measure: Literal["dice", "kept"] = Field(
        "kept",
        description="What falls: Dice of the class's prediction in the whole image with the "
        "region, or the share of the region that is predicted as the class.",
    )
    below: float = Field(0.5, gt=0, le=1, description="The event: the measure is below this.")
    where: Literal["anywhere", "context"] = Field(
        "anywhere", description="Pixels that may be removed: all, or those outside of the region."
    )
    fill: Fill | Literal["turned"] = Field(
        "mean", description="What removed segments show; turned: the image itself, upside down."
    )
    sets: int = Field(8, ge=1, le=100, description="Minimal sets that are kept.")
    budget: int | None = Field(
        None,
        ge=1,
        description="Passes in which all sets are tried, the smaller ones first; where it is not "
        "given, all that there are of up to 14 segments, 2000 of more.",
    )
    ring_px: float = Field(8.0, gt=0, description="Width of the ring around the region.")

    @property
    def classes_only(self) -> bool:
        return True

    def reduced(self, scene: Scene) -> CounterfactualSegments:
        return self.model_copy(update={"sets": 1, "budget": 1, "below": 1.0, "segments": 1})

    def passes(self, scene: Scene) -> float:
        cells = int(hexagons(scene.size, self.segments).max()) + 1
        tried = min(2**cells, self._allowed(cells))
        return 2.0 + tried + (cells * (cells + 1) / 2 if tried < 2**cells else 0)

    def _allowed(self, cells: int) -> int:
        """Passes in which all sets of so many segments are tried."""
        free = 2**EXHAUSTIVE if cells <= EXHAUSTIVE else BUDGET
        return free if self.budget is None else self.budget

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return torch.stack(
            [torch.stack([one.map for one in self.solve(scene, target)]) for target in targets]
        )

    def solve(self, scene: Scene, target: Target, donors: Tensor | None = None) -> list[Removed]:
        """The minimal sets of each image for one target; says what was not found in the scene.

        Images `donors` [d, c, h, w] take the fill's place, in each of which the segments are shown
        where they lie; the measure is the median over them, the lower of two.
        """
        score = scene.fix(target)
        if donors is not None and donors.shape[1:] != scene.images.shape[1:]:
            raise InputError(
                f"donors of {list(donors.shape[1:])} for images of {list(scene.images.shape[1:])}"
            )
        if donors is not None:
            fills = list(donors.to(scene.images).split(1))
        elif self.fill == "turned":
            fills = [scene.images.flip(2, 3)]
        else:
            fills = [filling(scene.model, scene.images, self.fill)]
        found = [
            self._of_image(scene, score, fills, row, donors is not None)
            for row in range(len(scene))
        ]
        empty = score.empty.tolist()
        if any(not one.sets and not nothing for one, nothing in zip(found, empty, strict=True)):
            scene.remark(
                f"no set of segments makes {self.measure} fall below {self.below:g}, or the event "
                "is true of the image itself: the map is empty",
                "no counterfactual",
            )
        return found

    def _of_image(
        self, scene: Scene, score: FixedTarget, fills: Sequence[Tensor], row: int, shared: bool
    ) -> Removed:
        region = score.mask[row]
        if self.partition == "hexagons":
            labels = hexagons(scene.size, self.segments)
        else:
            labels = superpixels(scene.images[row].float().cpu().numpy(), self.segments)
        labels = labels.to(region.device)
        free = ~region if self.where == "context" else torch.ones_like(region)
        cells = sorted(set(labels[free].tolist())) if region.any() else []
        image = scene.images[row : row + 1]
        own = fills if shared else [fill[row : row + 1] for fill in fills]
        removal = Removal(self, scene, image, own, labels, region, score.class_id)
        found = Search(cells, removal, self).run() if cells else Sets((), 0, False)
        return Removed.of(found, removal, len(cells), self.ring_px)


@dataclass(frozen=True)
class Removed:
    """The minimal sets of segments of one image, and where they lie.

    `map` [h, w] is the share of the sets that hold a pixel; `sets` hold numbers of segments of
    `labels` [h, w], of `segments` that could be removed; `gap` is by how many the smallest of all
    sets may be smaller than the smallest here, 0 where it is exact. `inside`, `ring` and
    `elsewhere` are shares of the removed pixels, on average over the sets; nan without a set.
    """

    map: Tensor
    sets: tuple[Set, ...]
    labels: Tensor
    segments: int
    gap: int
    inside: float
    ring: float
    elsewhere: float

    @classmethod
    def of(cls, found: Sets, removal: Removal, segments: int, ring_px: float) -> Removed:
        region = removal.region
        masks = torch.stack([removal.mask(one) for one in found.sets]) if found.sets else None
        if masks is None:
            nothing = torch.zeros(region.shape, device=region.device)
            nan = float("nan")
            return cls(nothing, (), removal.labels, segments, found.gap, nan, nan, nan)
        near = (distance_to(region[None])[0] <= ring_px) & ~region
        inside, ring = (
            float(((masks & part).sum((1, 2)) / masks.sum((1, 2))).mean())
            for part in (region, near)
        )
        rest = max(0.0, 1 - inside - ring)
        shown = masks.float().mean(0)
        return cls(shown, found.sets, removal.labels, segments, found.gap, inside, ring, rest)


class Removal:
    """What the measure is when segments of one image are removed."""

    def __init__(
        self,
        method: CounterfactualSegments,
        scene: Scene,
        image: Tensor,
        fills: Sequence[Tensor],
        labels: Tensor,
        region: Tensor,
        class_id: int,
    ):
        self.method, self.scene, self.image, self.fills = method, scene, image, fills
        self.labels, self.region, self.class_id = labels, region, class_id
        self._known: dict[Set, float] = {}

    def mask(self, cells: Set) -> Tensor:
        """The pixels [h, w] that a set removes."""
        held = torch.isin(self.labels, torch.tensor(cells, device=self.labels.device))
        return held & ~self.region if self.method.where == "context" else held

    def __call__(self, sets: Sequence[Set]) -> list[float]:
        """The measure without each set, the median over fills; none is asked for twice."""
        asked = [one for one in sets if one not in self._known]
        step = max(1, self.scene.batch_size // len(self.fills))
        for start in range(0, len(asked), step):
            some = asked[start : start + step]
            gone = torch.stack([self.mask(one) for one in some])[:, None]
            seen = torch.cat([torch.where(gone, fill, self.image) for fill in self.fills])
            values = self._measured(self.scene.forward(seen)).view(len(self.fills), len(some))
            self._known.update(zip(some, values.median(0).values.tolist(), strict=True))
        return [self._known[one] for one in sets]

    def _measured(self, logits: Tensor) -> Tensor:
        held = logits.max(1).indices == self.class_id
        if self.method.measure == "dice":
            return overlap(held, self.region[None], "dice")
        return (held & self.region).sum((1, 2)).double() / self.region.sum().clamp(min=1)


@dataclass(frozen=True)
class Sets:
    """Sets that make the event true; how many segments smaller the smallest may be; whether every
    set of that size was tried."""

    sets: tuple[Set, ...]
    gap: int
    exact: bool


class Search:
    """The smallest sets of numbers, of `cells`, of which `measure` is below the method's bound."""

    def __init__(
        self,
        cells: Sequence[int],
        measure: Callable[[Sequence[Set]], list[float]],
        method: CounterfactualSegments,
    ):
        self.cells, self.measure = tuple(cells), measure
        self.below, self.wanted, self.chunk = method.below, method.sets, 64
        self.budget = method._allowed(len(cells))

    def run(self) -> Sets:
        if self.measure([()])[0] < self.below:
            return Sets((), 0, True)
        size, spent = 1, 0
        while size <= len(self.cells) and spent + comb(len(self.cells), size) <= self.budget:
            found = self._true_of(combinations(self.cells, size))
            if found:
                return Sets(tuple(found[: self.wanted]), 0, True)
            spent += comb(len(self.cells), size)
            size += 1
        if size > len(self.cells):
            return Sets((), 0, True)
        first = self._grown(self.cells)
        if first is None:
            return Sets((), 0, False)
        sets = [first]
        for cell in first:
            if len(sets) == self.wanted:
                break
            other = self._grown([one for one in self.cells if one != cell])
            if other is not None and other not in sets:
                sets.append(other)
        sets.sort(key=lambda one: (len(one), one))
        return Sets(tuple(sets), len(sets[0]) - size, False)

    def _true_of(self, sets: Iterable[Set]) -> list[Set]:
        """Those that make the event true, in order; of a size all are tried."""
        found: list[Set] = []
        left = iter(sets)
        while some := list(islice(left, self.chunk)):
            values = self.measure(some)
            found += [one for one, value in zip(some, values, strict=True) if value < self.below]
        return found

    def _grown(self, cells: Sequence[int]) -> Set | None:
        """A set that makes the event true and of which no cell can be put back; None without one.

        The last cell to come is tried last for being put back.
        """
        chosen: list[int] = []
        while True:
            left = [cell for cell in cells if cell not in chosen]
            if not left:
                return None
            values = self.measure([tuple(sorted((*chosen, cell))) for cell in left])
            least = min(values)
            chosen.append(left[values.index(least)])
            if least < self.below:
                break
        while True:
            # Where putting one back helps another to go, it is tried again until none can.
            without = [tuple(sorted(c for c in chosen if c != cell)) for cell in chosen]
            spare = [i for i, value in enumerate(self.measure(without)) if value < self.below]
            if not spare:
                return tuple(sorted(chosen))
            del chosen[spare[0]]

"""Which composite suits a network: measured on an image, by criteria that no rule is made for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.explain.fill import filling
from conceptseg.explain.grids import grid_energy
from conceptseg.explain.lrp.composites import CompositeName
from conceptseg.explain.lrp.doubts import LEAST_KEPT, MOST_GROWN, MOST_SILENT
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.names import MATRICES
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.record import undisturbed

if TYPE_CHECKING:
    from conceptseg.network.model import SegmentationModel

CANDIDATES: tuple[CompositeName, ...] = (
    *("epsilon_plus", "plus", "gamma"),
    *("attention", "rescale"),
)
"""What is compared, the simplest first; epsilon_plus_flat differs from the first in one layer, and
plus and attention from others only where there are linear layers or attention."""
ATTENDING = MATRICES | {"scaled_dot_product_attention"}
Start = Literal["logit", "centred"]
"""Of what relevance may start from, what is compared: see `relevance_of_logits`."""
CELLS, STEPS, AT_ONCE = 8, 8, 8
PASSES = 65.0 + 22.0 * (len(CANDIDATES) + 1)
"""Of the network, about and at most, for one image: all that :func:`fits` runs."""
CLEARLY = 0.2
"""How much better a composite must do than the one in use before it is recommended instead."""

NEVER = ("growth", "inner", "silent", "grid")
"""Faults of single maps: one class in a thousand times the logits is hidden by any mean."""


@dataclass(frozen=True)
class Fit:
    """How a composite does on a network.

    `growth`: absolute relevance at the image over that at the logits. `inner`: the largest of it
    that any operation handed on. `share`: the same of signed sums at the image. `silent`: largest
    share of a rectifier's absolute relevance on units that say nothing. `grid`: the share of the
    map's energy at a grid's frequencies (:func:`conceptseg.explain.grids.grid_energy`).
    `occlusion`: correlation, over 8 x 8 cells of the image, of the map's sums with what the class's
    logit (or that from which relevance starts) loses when the cell is hidden under the image's mean
    colour. `flipping`: hidden one after another, what the logit loses earlier when the most
    relevant cells go first than when they go last, over the range of both curves; in [-1, 1], > 0
    where the order is right.
    """

    growth: float
    inner: float
    share: float
    silent: float
    grid: float
    occlusion: float
    flipping: float

    @property
    def fails(self) -> tuple[str, ...]:
        """The criteria that the composite does not meet."""
        found = []
        if not self.growth <= MOST_GROWN:
            found.append("absolute growth")
        if self.growth < LEAST_KEPT and self.share < LEAST_KEPT:
            found.append("relevance kept")
        if self.silent > MOST_SILENT:
            found.append("silent units")
        if self.occlusion <= 0:
            found.append("agreement with occlusion")
        if self.flipping <= 0:
            found.append("flipping")
        return tuple(found)

    @property
    def worth(self) -> float:
        """The mean of `occlusion` and `flipping`, by which composites are ranked."""
        return (self.occlusion + self.flipping) / 2

    @classmethod
    def over(cls, fits: Sequence[Fit]) -> Fit:
        """Of several maps: the worst of what must happen in none (`NEVER`), else the mean."""
        each = {one.name: [getattr(fit, one.name) for fit in fits] for one in fields(cls)}
        return cls(
            **{name: max(v) if name in NEVER else sum(v) / len(v) for name, v in each.items()}
        )


def recommended(fits: dict[str, Fit], current: str) -> str:
    """The composite to take: the current one, unless it fails what another meets, or another that
    fails nothing is clearly better."""
    sound = {name: fit for name, fit in fits.items() if not fit.fails}
    if not sound:
        return current
    best = max(sound, key=lambda name: sound[name].worth)
    if current in sound and sound[best].worth <= sound[current].worth + CLEARLY:
        return current
    return best


@dataclass(frozen=True)
class Hiding:
    """What the mean logit of a class in its region loses when cells of an image are hidden; or that
    less the mean of all classes', if that is what relevance `starts` from.

    `image` [1, c, h, w], `region` bool [1, h, w]. `means` [1 + cells, k]: the region's mean logits,
    of the image as it is and with each cell hidden. `drops` [cells] is what that takes.
    """

    model: SegmentationModel
    image: Tensor
    region: Tensor
    class_id: int
    means: Tensor
    starts: Start = "logit"

    @classmethod
    def of(cls, model: SegmentationModel, image: Tensor, region: Tensor, class_id: int) -> Hiding:
        empty = cls(model, image, region, class_id, image.new_zeros(0))
        cells = empty.grid[0] * empty.grid[1]
        alone = torch.eye(cells, dtype=torch.bool, device=image.device)
        none = torch.zeros_like(alone[:1])
        return replace(empty, means=empty.logits(torch.cat([none, alone])))

    @property
    def drops(self) -> Tensor:
        scores = self._score(self.means)
        return scores[0] - scores[1:]

    def _score(self, means: Tensor) -> Tensor:
        own = means[:, self.class_id]
        return own - means.mean(1) if self.starts == "centred" else own

    @property
    def grid(self) -> tuple[int, int]:
        height, width = self.image.shape[2:]
        return min(CELLS, height), min(CELLS, width)

    def logits(self, hidden: Tensor) -> Tensor:
        """The region's mean logits with cells hidden, bool [m, cells] -> [m, k]."""
        blank = filling(self.model, self.image, "mean")
        found = []
        with undisturbed(self.model), torch.no_grad():
            for some in hidden.split(AT_ONCE):
                mask = self._at_image_size(some.to(self.image))
                logits = self.model(torch.where(mask > 0, blank, self.image))
                found.append((logits * self.region).sum((2, 3)) / self.region.sum())
        return torch.cat(found).double()

    def _at_image_size(self, cells: Tensor) -> Tensor:
        """Numbers of cells [m, cells], over the pixels of each: [m, 1, h, w]."""
        small = cells.view(-1, 1, *self.grid)
        return F.interpolate(small, self.image.shape[2:], mode="nearest-exact")

    def sums(self, attributions: Tensor) -> Tensor:
        """A map's sums over cells, [h, w] -> [cells]."""
        numbers = torch.arange(len(self.drops), device=attributions.device).double()
        place = self._at_image_size(numbers[None]).long().flatten()
        found = torch.zeros_like(self.drops)
        return found.index_add_(0, place, attributions.flatten().double())

    def agreement(self, attributions: Tensor) -> float:
        """Pearson's correlation of a map's sums over cells with the drops; 0 without contrast."""
        pair = torch.stack([self.sums(attributions), self.drops])
        pair = pair - pair.mean(1, keepdim=True)
        size = pair.norm(dim=1)
        return float((pair[0] * pair[1]).sum() / size.prod()) if float(size.prod()) > 0 else 0.0

    def faithfulness(self, attributions: Tensor) -> float:
        """How much earlier the score falls with the most relevant cells first than with them last,
        over the range of both curves."""
        order = self.sums(attributions).argsort(descending=True)
        cells = len(order)
        steps = torch.linspace(0, cells, STEPS + 1).round().long().tolist()
        hidden = torch.zeros(2, len(steps), cells, dtype=torch.bool, device=order.device)
        for n, step in enumerate(steps):
            hidden[0, n, order[:step]] = True
            hidden[1, n, order[cells - step :]] = True
        curves = self._score(self.logits(hidden.flatten(0, 1))).view(2, -1)
        low, high = curves.min(), curves.max()
        first, last = curves.mean(1)
        return float((last - first) / (high - low)) if float(high - low) > 0 else 0.0


def named(composite: str, quantity: str = "logit") -> str:
    """What a composite and what relevance starts from are called, as settings: the composite alone
    where that is the logit."""
    return composite if quantity == "logit" else f"{composite}, quantity: {quantity}"


def fits(
    engine: Engine,
    image: Tensor,
    region: Tensor,
    class_id: int,
    quantity: Start = "logit",
    candidates: Sequence[CompositeName] = CANDIDATES,
) -> Iterator[tuple[str, Fit | str]]:
    """By composite (`named`), how it does for a class in a region, bool [1, h, w], of an image
    [1, c, h, w] from a `quantity`; or why it cannot be taken. The engine's composite is tried from
    centred logits and from plain ones. Besides relevance it takes about 64 passes of the network,
    and 18 for each composite."""
    hiding = Hiding.of(engine.model, image, region, class_id)
    names = {node.name for node in engine.canonical.graph.nodes}
    alike = {"plus"} if "linear" not in names else set()
    alike |= set() if names & ATTENDING else {"attention"}
    own = engine.composite
    others = [name for name in candidates if name != own and name not in alike]
    starts: tuple[Start, ...] = (quantity, "logit", "centred")
    pairs = [(own, start) for start in starts] + [(name, quantity) for name in others]
    for composite, start in dict.fromkeys(pairs):
        try:
            under = engine if composite == own else engine.under(composite)
            run = under.run(image)
            found, told = run.followed(relevance_of_logits(run.evidence, region, class_id, start))
        except InputError as error:
            yield named(composite, start), str(error)
            continue
        judge = replace(hiding, starts=start)
        whole = F.interpolate(found[None], image.shape[2:], mode="bilinear")[0, 0]
        yield (
            named(composite, start),
            Fit(
                told.growth,
                told.inner_growth,
                told.share,
                told.silent[0],
                grid_energy(found[0], under.canonical.graph.periods())[0],
                judge.agreement(whole),
                judge.faithfulness(whole),
            ),
        )

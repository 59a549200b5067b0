"""Grid saliency: the least of an image, in coarse cells, that keeps a region's prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import GRADIENT, Explainer
from conceptseg.explain.explainers._masking import GREYS, Greys, Interpolation, stretch
from conceptseg.explain.explainers._paths import portions
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target

TAIL = 0.05
"""Share of an image's pixels that lie beyond either end of the colours that it is hidden with."""
STARTS = (0.5, 0.75, 1.0)
"""Even masks of which the search starts from the cheapest."""
PAPER_CELLS = 16
"""Cells of the paper's grid on its synthetic images."""
CELL_PX = 64
"""Side of a cell of the paper's grid on street scenes of 1024 x 2048 pixels."""


@technique(family="perturbation", source="Hoyer et al. 2019, arXiv:1907.13054")
class GridSaliency(Explainer):
    """The smallest coarse mask of what has to be seen, for a region to be predicted as it is.

    For the target's region R of the image x, a flat colour a and a mask M in [0, 1] on a grid of
    cells, enlarged to the image, the network sees x_M = M x + (1 - M) a, and with `form: context`
    x itself on R, so that the object stays and only its surroundings are at stake. The map is

        argmin_M  penalty |M|_1 + mean over R of max(p_c(x) - p_c(x_M), 0)

    with p_c the class's probability: what a mask improves costs nothing. In [0, 1], without a sign;
    0 on R with `form: context`. Of a class whose prediction its object alone keeps, nothing is
    salient: exactly 0 where it loses nothing without its surroundings. Gradient descent with
    momentum from the cheapest even mask of 1/2, 3/4 and 1, in steps of at most `bound`, cut off at
    0 and 1; the mask of least cost of all that were met is kept, M = 0 among them. `colours` + 3
    forward passes, then `steps` + 1 forward and `steps` backward passes for each target.

    The colour is, for each image and target, that of `colours` of which M = 0 loses the median. A
    flat colour may itself be evidence for a class: one grey stood in for the texture that a planted
    network relies on, which is why `choice: least` is blind to a reliance that any one colour can
    serve. And a colour that the surroundings never have may hide the object itself: of greys from
    black to white, the two that are no darker than the planted digits cost digits that rely on no
    context .9 of their probability, and were the median of those that do rely, whose masks then
    showed what keeps white from the digit, and not the context. So the colours span what the
    surroundings themselves are made of (`span: own`). Of surroundings of one flat colour nothing
    can be hidden by it: `span: full` takes colours from black to white.

    The penalty is paid for each cell: a cell is shown where its absence would lose the region more
    than `penalty` of probability. So the same penalty hides more on a finer grid, unless it is
    taken `per: area`, for which all grids cost together what sixteen cells do. Not convex: what is
    found may not be the least. A network that is lost at M = 1/2 has no slope there, and descent
    from it alone ended at M = 0, all lost; steps without a bound were too short for cells that are
    worth nothing, and too long for those that are worth all.

    Departures: penalty, colours and the choice among them, start, rate, bound and steps are ours.
    The paper's grids are 4 x 4 cells of synthetic images and 16 x 32 of street scenes, which
    `cells: auto` comes to.

    Source: Hoyer, Munoz, Katiyar, Khoreva and Fischer, "Grid Saliency for Context Explanations of
    Semantic Segmentation", NeurIPS 2019, arXiv:1907.13054, section 3.
    """

    form: Literal["context", "object"] = Field(
        "context",
        description="Whether the region itself always stays visible (context), or is hidden and "
        "shown like all else (object).",
    )
    cells: tuple[int, int] | Literal["auto"] = Field(
        "auto", description="Cells down and across; auto: of 64 px, and at least 4 each way."
    )
    penalty: float = Field(0.02, ge=0, description="What showing one cell in full costs.")
    per: Literal["cell", "area"] = Field(
        "cell", description="Whether each cell costs the penalty, or any grid what 16 cells do."
    )
    colours: Greys = Field(
        GREYS, description="Colours to hide with, by their place in the span: 0 its end, 1 its top."
    )
    span: Literal["own", "full"] = Field(
        "own",
        description="From where to where colours go, in each channel: from the 5 % to the 95 % "
        "quantile of the image's pixels that can be hidden, or from 0 to 1.",
    )
    choice: Literal["median", "least"] = Field(
        "median", description="Which grey: of which hiding all loses the median, or the least."
    )
    interpolation: Interpolation = Field("bilinear", description="How the grid is enlarged.")
    steps: int = Field(100, ge=1, description="Steps of gradient descent.")
    rate: float = Field(1.0, gt=0, description="Length of a step, per unit of slope.")
    bound: float = Field(0.05, gt=0, le=1, description="The most that a step changes a cell.")
    momentum: float = Field(0.5, ge=0, lt=1, description="Share of a step that the next repeats.")

    @field_validator("cells")
    @classmethod
    def _some(cls, cells: tuple[int, int] | str) -> tuple[int, int] | str:
        if not isinstance(cells, str) and min(cells) < 1:
            raise ValueError("a grid has at least one cell each way")
        return cells

    @property
    def classes_only(self) -> bool:
        return True

    def reduced(self, scene: Scene) -> GridSaliency:
        return self.model_copy(update={"steps": 1, "colours": self.colours[:1]})

    def passes(self, scene: Scene) -> float:
        return len(self.colours) + len(STARTS) + GRADIENT * self.steps

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return torch.stack([self.solve(scene, target).map for target in targets])

    def solve(self, scene: Scene, target: Target) -> Solved:
        """The least masks of the images for one target, and what they cost."""
        parts = [_Problem(self, scene, scene.fix(target), rows).solve() for rows in portions(scene)]
        names = [field.name for field in fields(Solved)]
        return Solved(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def alone(self, scene: Scene, target: Target) -> Tensor:
        """The probability that the target's region loses when all that is at stake is hidden, [n]:
        that of :class:`Solved`, without searching a mask. `colours` forward passes."""
        parts = [
            _Problem(self, scene, scene.fix(target), rows).hidden()[1] for rows in portions(scene)
        ]
        return torch.cat(parts)

    def flat(self, images: Tensor, at_stake: Tensor) -> Tensor:
        """The colours that may hide what is at stake, bool [n, h, w], of images [n, c, h, w]:
        [colours, n, c]."""
        places = images.new_tensor(self.colours)[:, None, None]
        ends = images.new_tensor([[0.0], [1.0]]).expand(2, images.shape[1])
        each = [ends] * len(images)
        if self.span == "own":
            pairs = zip(images, at_stake, strict=True)
            each = [_ends(one[:, here]) if here.any() else ends for one, here in pairs]
        low, high = torch.stack(each, 1)
        return low + places * (high - low)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Cells down and across, of an image's height and width; never more than pixels."""
        wished = self.cells
        if isinstance(wished, str):
            wished = (max(4, round(size[0] / CELL_PX)), max(4, round(size[1] / CELL_PX)))
        return min(wished[0], size[0]), min(wished[1], size[1])


@dataclass(frozen=True)
class Solved:
    """The least masks of n images on a grid of y by x cells.

    `mask` [n, y, x]; `map` [n, h, w] the same enlarged, 0 where nothing was at stake; `drop` [n]
    the probability that the region loses under it, and `alone` [n] under the mask that hides all,
    which is of the region alone with `form: context`; `colour` [n, c] what hides. A region
    that is empty loses nothing, and nothing is shown.
    """

    mask: Tensor
    map: Tensor
    drop: Tensor
    alone: Tensor
    colour: Tensor


class _Problem:
    """The masks of a few images, found together; no image's hangs on another's."""

    def __init__(self, method: GridSaliency, scene: Scene, score: FixedTarget, rows: list[int]):
        self.method, self.scene = method, scene
        self.images = scene.images[rows]
        self.region, self.class_id = score.mask[rows], score.class_id
        self.clean = self._probability(scene.logits[rows])
        y, x = method.grid(scene.size)
        down, across = (
            stretch(cells, side, method.interpolation).to(self.images)
            for cells, side in zip((y, x), scene.size, strict=True)
        )
        self.down, self.across = down, across
        # A cheaper cell is worth less to the region as well, and takes steps as long as a dear one.
        share = PAPER_CELLS / (y * x) if method.per == "area" else 1.0
        self.price, self.rate = method.penalty * share, method.rate / share
        context = method.form == "context"
        self.at_stake = ~self.region if context else torch.ones_like(self.region)
        self.colours = method.flat(self.images, self.at_stake)

    def solve(self) -> Solved:
        mask = self._nothing()
        colour, alone = self.hidden()
        best, least, drop = mask.clone(), alone.clone(), alone.clone()
        mask, speed = self._start(colour), torch.zeros_like(mask)
        for step in range(self.method.steps + 1):
            lost, slope = self._lost(mask, colour, slope=step < self.method.steps)
            better = lost + self.price * mask.sum((1, 2)) < least
            best[better], drop[better] = mask[better], lost[better]
            least = torch.where(better, lost + self.price * mask.sum((1, 2)), least)
            if slope is not None:
                speed = self.method.momentum * speed + slope + self.price
                step_by = (self.rate * speed).clamp(-self.method.bound, self.method.bound)
                mask = (mask - step_by).clamp(0, 1)
        enlarged = self._enlarged(best) * self.at_stake
        return Solved(best, enlarged, drop, alone, colour)

    def _start(self, colour: Tensor) -> Tensor:
        """The cheapest masks of one value in all cells, of `STARTS`."""
        even = [self._nothing() + value for value in STARTS]
        costs = [self._lost(mask, colour)[0] + self.price * mask.sum((1, 2)) for mask in even]
        return torch.stack(even)[torch.stack(costs).argmin(0), torch.arange(len(self.images))]

    def _nothing(self) -> Tensor:
        """Masks that show nothing, [n, y, x]."""
        return self.images.new_zeros(len(self.images), self.down.shape[1], self.across.shape[1])

    def hidden(self) -> tuple[Tensor, Tensor]:
        """Of each image the colour [n, c] that hides, and what hiding all with it loses."""
        nothing, tried = self._nothing(), self.colours
        lost = torch.stack([self._lost(nothing, colour)[0] for colour in tried])
        chosen = lost.min(0) if self.method.choice == "least" else lost.median(0)
        return tried[chosen.indices, torch.arange(len(nothing))], chosen.values

    def _lost(
        self, mask: Tensor, colour: Tensor, slope: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """What the regions lose under masks [n, y, x]: [n], and its slope in each cell."""
        hidden = colour[..., None, None].expand_as(self.images)
        shown = self._enlarged(mask).masked_fill(~self.at_stake, 1.0)[:, None]
        seen = torch.lerp(hidden, self.images, shown)
        if not slope:
            return self._drop(self.scene.forward(seen)), None
        lost, gradient = self.scene.value_and_gradient(seen, self._drop)
        by_pixel = (gradient * (self.images - hidden)).sum(1) * self.at_stake
        return lost, self.down.T @ by_pixel @ self.across

    def _enlarged(self, mask: Tensor) -> Tensor:
        return self.down @ mask @ self.across.T

    def _drop(self, logits: Tensor) -> Tensor:
        """Mean over the region of the probability that is lost, [n]; what is gained is nothing."""
        lost = (self.clean - self._probability(logits)).clamp(min=0)
        return lost.sum((1, 2)) / self.region.sum((1, 2)).clamp(min=1)

    def _probability(self, logits: Tensor) -> Tensor:
        """The class's probability [n, h, w] on the region, 0 elsewhere."""
        log_share = logits[:, self.class_id] - logits.logsumexp(1)
        return log_share.exp().masked_fill(~self.region, 0.0)


def _ends(values: Tensor) -> Tensor:
    """The quantiles [2, c] at `TAIL` and 1 - `TAIL` of pixels [c, m], each a value that occurs."""
    ordered = values.sort(1).values
    below = int(TAIL * (values.shape[1] - 1))
    return torch.stack([ordered[:, below], ordered[:, -1 - below]])

"""MiSuRe: the least part of an image, around a region, that suffices to predict it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import log2
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import GRADIENT, Explainer
from conceptseg.explain.explainers._masking import GREYS, Greys, overlap
from conceptseg.explain.explainers._paths import portions
from conceptseg.explain.regions import distance_to
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target


@technique(family="perturbation", source="Hasany et al. 2024, arXiv:2406.12173; weights are ours")
class MiSuRe(Explainer):
    """A region's minimally sufficient surroundings, and how far they reach.

    First the sufficient region: all within r pixels of the target's region R is shown, the rest of
    the image is a flat grey, and r is the least radius from which on the prediction is kept, that
    is, `measure` is at least `keep` times the clean image's. That r is the region's **context
    radius** (:meth:`solve`): 0 for a network that reads each pixel alone, and at most its receptive
    field's reach. Then, within it, a mask m in [0, 1] of pixels is fitted that shows less:

        argmin_m  1 - softdice(p_c(x_m), R) + sparsity mean m + smoothness mean |gradient m|

    by gradient descent with momentum from m = 1, means taken over the sufficient region. The map is
    the mask of least sum of those met that keep the prediction, the sufficient region among them;
    with `steps: 0` it is the sufficient region. In [0, 1], without a sign.

    Of `colours`, that grey hides whose radius is the median: one may itself be evidence for the
    class, or against it. Radii are tried at powers of two, and by bisection between the largest of
    them that fails and the next: where a larger part shows less of the class than a smaller one,
    what holds is that all larger powers of two keep it. About (log2 s + 2) passes for each colour
    of an image of side s, and as many again for bisection, then `steps` + 1 forward and backward.

    The radius is in pixels of the image as the network takes it. What is hidden is unlike any image
    that the network was trained on, so a radius says what suffices, and no more: a network may
    ignore a context that it would use if it were shown another in its place.

    Departures: the publication's weights, threshold and filling are not known to us; the median
    over greys and the search of the radius are ours.

    Source: Hasany, Mériaudeau and Petitjean, "MiSuRe is all you need to explain your image
    segmentation", 2024, arXiv:2406.12173.
    """

    keep: float = Field(
        0.95, gt=0, le=1, description="Share of the clean image's measure that has to be kept."
    )
    measure: Literal["dice", "kept"] = Field(
        "dice",
        description="What is kept: Dice of the class's prediction in the whole image with the "
        "region, or the share of the region that is predicted as the class.",
    )
    colours: Greys = Field(GREYS, description="Greys to hide with, in [0, 1].")
    steps: int = Field(100, ge=0, description="Steps in which the mask is fitted; 0: none.")
    rate: float = Field(
        0.02, gt=0, description="Length of a step, per unit of slope and share of the region."
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Share of a step that the next repeats.")
    sparsity: float = Field(1.0, ge=0, description="What showing all of the region would cost.")
    smoothness: float = Field(0.2, ge=0, description="What a mask costs that jumps everywhere.")

    @property
    def classes_only(self) -> bool:
        return True

    def reduced(self, scene: Scene) -> MiSuRe:
        return self.model_copy(
            update={"steps": min(self.steps, 1), "colours": self.colours[:1], "keep": 1e-6}
        )

    def passes(self, scene: Scene) -> float:
        rungs = 2 * log2(max(scene.size)) + 2
        return len(self.colours) * rungs + GRADIENT * self.steps

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return torch.stack([self.solve(scene, target).map for target in targets])

    def solve(self, scene: Scene, target: Target) -> Sufficient:
        """The radii and masks of the images for one target."""
        score = scene.fix(target)
        parts = [_Search(self, scene, score, rows).solve() for rows in portions(scene)]
        names = [field.name for field in fields(Sufficient)]
        return Sufficient(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Sufficient:
    """What suffices of n images.

    `radius` [n] is the context radius in pixels, nan where the region is empty or the clean image
    does not show the class there at all; `by_colour` [n, c] those of the greys, and `colour` [n]
    the grey whose radius it is; `map` [n, h, w] the mask, zeros where there is no radius.
    """

    radius: Tensor
    by_colour: Tensor
    colour: Tensor
    map: Tensor


class _Search:
    """The radii and masks of a few images, found together; no image's hangs on another's."""

    def __init__(self, method: MiSuRe, scene: Scene, score: FixedTarget, rows: list[int]):
        self.method, self.scene = method, scene
        self.images, self.region = scene.images[rows], score.mask[rows]
        self.class_id = score.class_id
        self.away = distance_to(self.region)  # [n, h, w]
        self.wanted = method.keep * self._measured(scene.logits[rows])

    def solve(self) -> Sufficient:
        greys = self.images.new_tensor(self.method.colours)
        by_colour = torch.stack([self._radius(float(grey)) for grey in greys], 1)
        radius, place = by_colour.median(1)
        colour = greys[place]
        known = self.wanted > 0
        shown = (self.away <= radius[:, None, None]).to(self.images)
        if self.method.steps:
            shown = self._thinned(shown, colour)
        nothing = radius.new_full((), torch.nan)
        return Sufficient(
            torch.where(known, radius, nothing),
            torch.where(known[:, None], by_colour, nothing),
            colour,
            shown * known[:, None, None],
        )

    def _radius(self, grey: float) -> Tensor:
        """The least radius [n] from which on powers of two keep the prediction."""
        ladder = [0.0]
        while ladder[-1] < max(self.region.shape[1:]) * 2**0.5:
            ladder.append(max(1.0, 2 * ladder[-1]))
        steps = self.away.new_tensor(ladder)
        kept = torch.stack([self._keeps(step.expand(len(self.away)), grey) for step in steps[:-1]])
        # The last shows all of the image, whose prediction it is.
        failing = torch.cat((~kept, kept.new_zeros(1, kept.shape[1])))
        last = torch.where(failing, torch.arange(len(steps), device=kept.device)[:, None], -1)
        last = last.amax(0)
        low, high = steps[last.clamp(min=0)], steps[last + 1]
        high = torch.where(last < 0, low, high)
        while bool((high - low > 1).any()):
            middle = ((low + high) / 2).floor()
            open_ = high - low > 1
            kept = self._keeps(middle, grey)
            low = torch.where(open_ & ~kept, middle, low)
            high = torch.where(open_ & kept, middle, high)
        return high

    def _keeps(self, radius: Tensor, grey: float) -> Tensor:
        """Whether what lies within radii [n] of the regions suffices, [n]."""
        shown = (self.away <= radius[:, None, None]).to(self.images)
        seen = torch.lerp(self.images.new_tensor(grey), self.images, shown[:, None])
        return self._measured(self.scene.forward(seen)) >= self.wanted

    def _thinned(self, shown: Tensor, colour: Tensor) -> Tensor:
        """Masks [n, h, w] within the sufficient regions that show less and still keep."""
        hidden = colour[:, None, None, None].expand_as(self.images)
        size = shown.sum((1, 2)).clamp(min=1)[:, None, None]
        sparsity, smoothness = self.method.sparsity, self.method.smoothness
        mask, best, speed = shown, shown, torch.zeros_like(shown)
        for step in range(self.method.steps + 1):
            reading = _Reading(self)
            seen = torch.lerp(hidden, self.images, mask[:, None])
            _, slope = self.scene.value_and_gradient(seen, reading)
            less = (reading.measured >= self.wanted) & (mask.sum((1, 2)) < best.sum((1, 2)))
            best = torch.where(less[:, None, None], mask, best)
            if step == self.method.steps:
                break
            by_pixel = (slope * (self.images - hidden)).sum(1)
            steep = by_pixel * size + sparsity + smoothness * _jump_slopes(mask)
            speed = self.method.momentum * speed + steep
            mask = ((mask - self.method.rate * speed) * shown).clamp(0, 1)
        return best

    def _measured(self, logits: Tensor) -> Tensor:
        """The measure of each image's prediction, float64 [n]; 0 of an empty region."""
        held = logits.detach().max(1).indices == self.class_id
        if self.method.measure == "dice":
            return overlap(held, self.region, "dice")
        total = self.region.sum((1, 2))
        return (held & self.region).sum((1, 2)).double() / total.clamp(min=1)


class _Reading:
    """1 - softdice with the region, of logits [n, k, h, w]: [n]; keeps their `measured` [n]."""

    measured: Tensor

    def __init__(self, search: _Search):
        self.search = search

    def __call__(self, logits: Tensor) -> Tensor:
        self.measured = self.search._measured(logits)
        share = (logits[:, self.search.class_id] - logits.logsumexp(1)).exp()
        region = self.search.region
        common = (share * region).sum((1, 2))
        return 1 - 2 * common / (share.sum((1, 2)) + region.sum((1, 2)).clamp(min=1))


def _jump_slopes(masks: Tensor) -> Tensor:
    """Slopes of the sum of absolute differences between neighbours, in masks [n, h, w]."""
    found = torch.zeros_like(masks)
    down = (masks[:, 1:] - masks[:, :-1]).sign()
    across = (masks[:, :, 1:] - masks[:, :, :-1]).sign()
    found[:, 1:] += down
    found[:, :-1] -= down
    found[:, :, 1:] += across
    found[:, :, :-1] -= across
    return found

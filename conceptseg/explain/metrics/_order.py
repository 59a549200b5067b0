"""Faithfulness by changing pixels in the order of a map: the frame of deletion and insertion."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.metrics._base import NAN, MapMetric, Reference, blended, share
from conceptseg.explain.noise import noisy
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget


class PixelOrder(MapMetric):
    """Pixels are hidden, or shown, from the most salient on, and each stage is scored."""

    inserts: ClassVar[bool]
    steps: int = Field(20, ge=1, description="Stages after the first; passes but one.")
    fill: Fill = Field("mean", description="What hidden pixels show.")
    score: Literal["target", "probability", "dice"] = Field(
        "probability",
        description="What is read: the class's mean probability over the region, the overlap of "
        "its prediction with the clean one, or the target's own score, which has no bounds.",
    )
    within: Literal["image", "context"] = Field(
        "image", description="Pixels that change: all, or those outside of the region alone."
    )
    seed: int = Field(0, ge=0, description="Seed of the order among equal attributions.")
    robust: int = Field(
        0,
        ge=0,
        description="Noisy copies of the image over whose curves is averaged, each divided by its "
        "own score with all shown (Gan et al. 2022); 0: the image itself.",
    )
    radius: float = Field(
        0.1, gt=0, le=1, description="Bound of that noise, on the images' scale of [0, 1]."
    )

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.robust and self.score == "target":
            raise ValueError(
                "robust: a target's score may be of any sign, by which no curve can be divided; "
                "take score probability or dice"
            )
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        return None if self.score == "target" or self.robust else (0.0, 1.0)

    @property
    def passes(self) -> int:
        return (self.steps + 1) * max(self.robust, 1)

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        scene = trial.scene
        among = torch.ones_like(region.mask) if self.within == "image" else ~region.mask
        counts = stages(among.sum((1, 2)), self.steps)
        place = places(trial.attributions, among, self.seed)
        read = self._read(scene, region)

        def curve_of(images: Tensor) -> Tensor:
            hidden = filling(scene.model, images, self.fill)

            def vary(_: Tensor, start: int, stop: int) -> Tensor:
                changed = place[:, None] < counts[:, start:stop, None, None]
                seen = changed | ~among[:, None] if self.inserts else ~changed
                return blended(images, hidden, seen)

            return scene.respond(self.steps + 1, vary, read)

        if self.robust:
            rows, whole = list(range(len(scene))), -1 if self.inserts else 0
            copies = [noisy(scene, rows, self.radius, self.seed, j) for j in range(self.robust)]
            curves = torch.stack([curve_of(images) for images in copies])
            curve = share(curves, curves[:, :, whole, None]).nanmean(0)
        else:
            curve = curve_of(scene.images)
        curve = curve.masked_fill(~among.any(2).any(1)[:, None], NAN)
        at = tuple(step / self.steps for step in range(self.steps + 1))
        return Measured(torch.trapezoid(curve, dx=1 / self.steps, dim=1), curve, at)

    def _read(self, scene: Scene, region: FixedTarget) -> Callable[[Tensor], Tensor]:
        if self.score == "dice":
            return Reference.of(scene, region).dice
        if self.score == "probability":
            return replace(region, score="probability", reduce="mean")
        return region


def stages(sizes: Tensor, steps: int) -> Tensor:
    """How many of `sizes` [n] pixels have changed at each stage, whole numbers [n, steps + 1]."""
    step = torch.arange(steps + 1, device=sizes.device)
    return (2 * sizes[:, None] * step + steps) // (2 * steps)


def places(maps: Tensor, among: Tensor, seed: int) -> Tensor:
    """Each pixel's place [n, h, w] in the order from the largest value down, counted from 0.

    Pixels that are not `among` those to be ordered come last. Equal values are ordered by lot,
    the same for every image, so that no order of rows and columns is favoured.
    """
    flat = maps.flatten(1).masked_fill(~among.flatten(1), -float("inf"))
    generator = torch.Generator().manual_seed(seed)
    lot = torch.randperm(flat.shape[1], generator=generator).to(maps.device)
    order = lot[flat[:, lot].argsort(dim=1, descending=True, stable=True)]
    numbers = torch.arange(flat.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, numbers).view_as(maps)

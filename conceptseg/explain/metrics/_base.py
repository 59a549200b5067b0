"""What all metrics share: checks, once; maps brought to [0, 1]; overlap with the prediction.

Shape letters: n images, r variants of each, h w pixels, p values of a row.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.errors import InputError
from conceptseg.explain.contract import Measured, Metric, Trial
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget
from conceptseg.network.label_map import label_map

Sign = Literal["positive", "absolute"]
Scaling = Literal["minmax", "max", "rank", "none"]
Within = Literal["region", "context"]
Share = Annotated[float, Field(ge=0, le=1)]

NAN = float("nan")


class MapMetric(Metric):
    """A metric whose trial is checked, and whose number is nan where the region is empty.

    A file gives :meth:`judge`.
    """

    def measure(self, trial: Trial) -> Measured:
        """One number per image, float32 [n]; nan where the target's region is empty.

        Raises InputError for maps or a context that are not the images', for maps that are not
        finite, and where a context is needed and not given.
        """
        self._check(trial)
        if not len(trial.scene):
            return Measured(trial.attributions.new_zeros(0, dtype=torch.float32))
        region = trial.scene.fix(trial.target)
        found = self.judge(trial, region)
        value = found.value.float().masked_fill(region.empty, NAN)
        if found.curve is None:
            return Measured(value)
        curve = found.curve.float().masked_fill(region.empty[:, None], NAN)
        return Measured(value, curve, found.at)

    @abstractmethod
    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        """The formula; `region` is the trial's target on the clean images."""

    def _check(self, trial: Trial) -> None:
        expected = [len(trial.scene), *trial.scene.size]
        given = {"attributions": trial.attributions, "context": trial.context}
        for name, values in given.items():
            if values is None:
                continue
            if list(values.shape) != expected:
                raise InputError(
                    f"{name} of shape {list(values.shape)} for images of {expected} pixels"
                )
            if values.device != trial.scene.images.device:
                raise InputError(
                    f"{name} are on {values.device}, the images on {trial.scene.images.device}"
                )
        if not trial.attributions.isfinite().all():
            raise InputError("the attributions are not finite; does the network return NaN?")
        if trial.context is not None and trial.context.dtype != torch.bool:
            raise InputError(f"context holds booleans, got {trial.context.dtype}")
        if self.needs_context and trial.context is None:
            raise _no_context(self)


class StrengthMetric(MapMetric):
    """A metric of how strong a map is, pixel by pixel: never negative."""

    sign: Sign = Field(
        "positive", description="What counts as salient: positive attributions alone, or both."
    )

    @property
    def bounds(self) -> tuple[float, float] | None:
        return (0.0, 1.0)

    def strength(self, attributions: Tensor) -> Tensor:
        """The map rectified, or its absolute values."""
        return attributions.relu() if self.sign == "positive" else attributions.abs()


class ScaledMetric(StrengthMetric):
    """A metric of a map that is brought to [0, 1]."""

    scaling: Scaling = Field(
        "minmax",
        description="How the map is brought to [0, 1]: by its least and largest value, by its "
        "largest alone, by rank, or cut off at 1 as it is.",
    )

    def saliency(self, trial: Trial) -> Tensor:
        """The map's strength in [0, 1], [n, h, w]."""
        return scaled(self.strength(trial.attributions), self.scaling)


class ThresholdMetric(ScaledMetric):
    """A metric of the masks at which a map in [0, 1] is cut: b = [L >= t], at each of several t."""

    threshold: float = Field(
        0.1, ge=0, le=1, description="Threshold whose number is the metric's value."
    )
    thresholds: tuple[Share, ...] = Field(
        (0.05, 0.1, 0.2, 0.4), description="Thresholds of the curve; the one above joins them."
    )

    @property
    def at(self) -> tuple[float, ...]:
        return tuple(sorted({*self.thresholds, self.threshold}))

    def measured(self, curve: Tensor) -> Measured:
        """The curve [n, p] over thresholds and its value at the one that counts."""
        return Measured(curve[:, self.at.index(self.threshold)], curve, self.at)


class MaskMetric(ScaledMetric):
    """A metric of the map as a mask that is laid over the image."""

    mode: Literal["soft", "binary"] = Field(
        "soft", description="The mask is the map in [0, 1], as published, or 1 from a threshold on."
    )
    threshold: float = Field(0.1, ge=0, le=1, description="Threshold of the binary mask.")

    def mask(self, trial: Trial) -> Tensor:
        """Float [n, h, w] in [0, 1]."""
        saliency = self.saliency(trial)
        return saliency if self.mode == "soft" else (saliency >= self.threshold).to(saliency)


def scaled(maps: Tensor, how: Scaling) -> Tensor:
    """Maps [n, h, w], none of them negative, each brought to [0, 1].

    `minmax` (L - min L) / (max L - min L), and 1 everywhere for a positive constant, which has no
    pixel that is less salient than another; `max` L / max L; `rank` the share of other pixels that
    are strictly less salient; `none` min(L, 1). A map of zeros stays so under each.
    """
    if how == "none":
        return maps.clamp(max=1)
    flat = maps.flatten(1)
    if how == "rank":
        below = torch.searchsorted(flat.sort(1).values, flat.contiguous())
        return (below / max(flat.shape[1] - 1, 1)).to(maps).view_as(maps)
    largest = flat.amax(1)[:, None, None]
    least = flat.amin(1)[:, None, None] if how == "minmax" else torch.zeros_like(largest)
    least = least.where(least < largest, torch.zeros_like(least))
    span = largest - least
    return ((maps - least) / span.where(span > 0, torch.ones_like(span))).clamp(0, 1)


def blended(images: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
    """Images [n, c, h, w] where masks [n, r, h, w] are 1, `hidden` where 0: [n, r, c, h, w]."""
    if mask.dtype == torch.bool:
        return images[:, None].where(mask[:, :, None], hidden[:, None])
    share = mask[:, :, None].to(images)
    return share * images[:, None] + (1 - share) * hidden[:, None]


def dice(first: Tensor, second: Tensor) -> Tensor:
    """2 |A and B| / (|A| + |B|) of booleans [m, h, w]; nan where both are empty."""
    return 2 * (first & second).sum((1, 2)) / (first.sum((1, 2)) + second.sum((1, 2)))


@dataclass(frozen=True)
class Reference:
    """A class's clean prediction within the region, which a masked image should bring about again.

    `own` [n, h, w] are the region's pixels that are predicted as the class. Pixels of the class
    outside of the region are not `counted` [n, h, w]: whoever explains one object need not keep
    another. For a region that is all of the prediction, this is the class against the rest.
    """

    class_id: int
    own: Tensor
    counted: Tensor

    @classmethod
    def of(cls, scene: Scene, region: FixedTarget) -> Self:
        predicted = label_map(scene.logits) == region.class_id
        return cls(region.class_id, predicted & region.mask, ~predicted | region.mask)

    def dice(self, logits: Tensor) -> Tensor:
        """Of variants' logits [n r, k, h, w], the Dice overlap with the clean prediction [n r].

        nan where the class is predicted nowhere in the region.
        """
        repeats = logits.shape[0] // self.own.shape[0]
        own = self.own.repeat_interleave(repeats, 0)
        counted = self.counted.repeat_interleave(repeats, 0)
        found = dice((label_map(logits) == self.class_id) & counted, own)
        return found.masked_fill(~own.any(2).any(1), NAN)


def surroundings(metric: Metric, trial: Trial, region: FixedTarget, within: Within) -> Tensor:
    """Booleans [n, h, w]: the region, or what is known to matter outside of it.

    Raises InputError if that is wanted and not known.
    """
    if within == "region":
        return region.mask
    if trial.context is None:
        raise _no_context(metric)
    return trial.context & ~region.mask


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, nan where the whole is not positive."""
    return (part / whole).masked_fill(whole <= 0, NAN)


def dilated(mask: Tensor, radius_px: float) -> Tensor:
    """Booleans [n, h, w]: pixels at most `radius_px` from one of the mask's (Euclidean, centres).

    A disc is a pile of rows, each a one-dimensional maximum.
    """
    radius = int(radius_px)
    if radius < 1:
        return mask
    values, height = mask[:, None].float(), mask.shape[1]
    found = values
    for dy in range(min(radius, height - 1) + 1):
        half = min(math.isqrt(int(radius_px**2) - dy**2), mask.shape[2])
        wide = functional.max_pool2d(values, (1, 2 * half + 1), 1, (0, half))
        down = functional.pad(wide[:, :, : height - dy], (0, 0, dy, 0))
        up = functional.pad(wide[:, :, dy:], (0, 0, 0, dy))
        found = found.maximum(down).maximum(up)
    return found[:, 0] > 0


def ranks(rows: Tensor) -> Tensor:
    """Of values [n, p], their place among the row's, from 0; ties share the mean of theirs."""
    ordered, rows = rows.sort(1).values, rows.contiguous()
    first = torch.searchsorted(ordered, rows)
    behind = torch.searchsorted(ordered, rows, right=True)
    return (first + behind - 1) / 2


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of rows [n, p], in [-1, 1]; nan where a row is constant."""
    centred = []
    constant = torch.zeros_like(first[:, 0], dtype=torch.bool)
    for rows in (first, second):
        constant |= rows.amax(1) == rows.amin(1)
        # Attributions may be so small that their squares vanish.
        rows = rows / rows.abs().amax(1, keepdim=True)
        rows = rows - rows.mean(1, keepdim=True)
        centred.append(rows / rows.norm(dim=1, keepdim=True))
    found = (centred[0] * centred[1]).sum(1).clamp(-1, 1)
    return found.masked_fill(constant, NAN)


def _no_context(metric: Metric) -> InputError:
    name = type(metric).__module__.rpartition(".")[2]
    return InputError(
        f"metric {name!r} needs the surroundings that are known to matter; give Trial.context"
    )

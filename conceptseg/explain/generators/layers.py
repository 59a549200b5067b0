"""Layers: an image as regions, each with a colour, octaves of texture, a blur, and a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.explain.fill import blurred, from_around
from conceptseg.explain.generate import Code, Generator, Group, Subject
from conceptseg.explain.looks import OCTAVES, looks, octaves

Attribute = Literal["colour", "texture", "blur", "exchange", "place"]
BLUR_PX = 2.0
"""Deviation of the Gaussian that a blur of 1 ends in."""
THING = 0.2
"""A region on more of the image than this is ground, which has no place that it could leave."""


@technique(family="explicit", source="STEEX's question (Jacob et al. 2022) with own parameters")
class Layers(Generator):
    """Every region by itself: colour, octaves of texture, blur, exchange, and a shift of things.

    Of a region r with mask m_r, octaves O_k of the image x, blurred image G x, and donors d_j,
    which are other images that show a region of that name in its place,

        x' = x + sum_r m_r (offset_r + sum_k (gain_rk - 1) O_k + blur_r (G x - x)
                            + sum_j w_rj (d_j - x)),

    the w_rj summing to 1 at most; then regions on at most a fifth of the image may be shifted,
    their hole filled from around. Nothing is learnt and nothing inverted: zero parameters give the
    image bit for bit. Offsets and gains end at the 1st and 99th percentile of how regions of that
    name look in the data, the image's own look included, so the search stays where data are.

    Edits keep shapes: a class that is told by its outline alone cannot be turned into another.
    """

    attributes: tuple[Attribute, ...] = Field(
        ("colour", "texture", "blur", "exchange", "place"),
        min_length=1,
        description="What may change.",
    )
    shift: float = Field(
        0.1, gt=0, le=0.5, description="Shift of things, as a part of the image's shorter side."
    )

    @property
    def by_regions(self) -> bool:
        return True

    def encode(self, subject: Subject, fitted: Mapping[str, Tensor]) -> Code:
        return _Layers(self, subject)


class _Layers(Code):
    def __init__(self, layers: Layers, subject: Subject) -> None:
        self.image, self.names = subject.image, list(subject.regions)
        self.bands = octaves(subject.image)
        self.soft = blurred(subject.image, BLUR_PX) - subject.image
        self.pixels = [subject.regions[name] for name in self.names]
        self.shift_px = layers.shift * min(subject.image.shape[2:])
        self._fills: dict[int, Tensor] = {}
        self.donors: dict[int, list[tuple[str, Tensor]]] = {}
        groups, scale, low, high = list[Group](), list[float](), list[float](), list[float]()

        def add(region: str, attribute: str, ends: np.ndarray) -> None:
            """Parameters whose values range over `ends` [2, q], 0 inside."""
            start = len(scale)
            for down, up in ends.T.tolist():
                size = max(-down, up, 0.0)
                scale.append(size)
                low.append(down / size if size else 0.0)
                high.append(up / size if size else 0.0)
            if any(scale[start:]):
                groups.append(Group(region, attribute, tuple(range(start, len(scale)))))

        self._place: list[dict[str, int]] = []
        for r, name in enumerate(self.names):
            own = looks(self.image, self.bands, self.pixels[r])
            limits = subject.limits.get(name, np.stack([own, own]))
            ends = np.stack([np.minimum(limits[0] - own, 0), np.maximum(limits[1] - own, 0)])
            c, at = self.image.shape[1], dict[str, int]()
            if "colour" in layers.attributes:
                at["colour"] = len(scale)
                add(name, "colour", ends[:, :c])
            if "texture" in layers.attributes:
                at["texture"] = len(scale)
                add(name, "texture", ends[:, c:])
            if "blur" in layers.attributes:
                at["blur"] = len(scale)
                add(name, "blur", np.array([[0.0], [1.0]]))
            donors = subject.donors.get(name, ())
            if "exchange" in layers.attributes and donors:
                at["exchange"] = len(scale)
                self.donors[r] = [(label, one - self.image) for label, one in donors]
                add(name, "exchange", np.array([[0.0] * len(donors), [1.0] * len(donors)]))
            share = float(self.pixels[r].float().mean())
            if "place" in layers.attributes and share <= THING:
                at["place"] = len(scale)
                add(name, "place", np.array([[-self.shift_px] * 2, [self.shift_px] * 2]))
            self._place.append(at)
        like = self.image.new_tensor
        self.groups = tuple(groups)
        self.scale, self.low, self.high = like(scale), like(low), like(high)

    def render(self, theta: Tensor) -> Tensor:
        values, c = theta * self.scale, self.image.shape[1]
        found = self.image.expand(len(theta), -1, -1, -1)
        for r, (mask, at) in enumerate(zip(self.pixels, self._place, strict=True)):
            change = torch.zeros_like(found)
            if (start := at.get("colour")) is not None:
                change = change + values[:, start : start + c, None, None]
            if (start := at.get("texture")) is not None:
                gains = values[:, start : start + len(OCTAVES)].exp() - 1
                change = change + torch.einsum("mk,kchw->mchw", gains, self.bands)
            if (start := at.get("blur")) is not None:
                change = change + values[:, start, None, None, None] * self.soft
            if (start := at.get("exchange")) is not None:
                apart = torch.cat([one for _, one in self.donors[r]])
                weights = values[:, start : start + len(apart)]
                weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
                change = change + torch.einsum("mk,kchw->mchw", weights, apart)
            found = found + change * mask
        for r, at in enumerate(self._place):
            if (start := at.get("place")) is not None:
                by = values[:, start : start + 2]
                if bool((by != 0).any()) or by.requires_grad:
                    found = found + (self._moved(found, r, by) - self._moved(found, r, 0 * by))
        return found.clamp(0, 1)

    def corners(self, group: Group) -> Sequence[Tensor]:
        """Each donor in full: half of one texture over half of another is none of the data's."""
        if group.attribute != "exchange":
            return ()
        found = self.low.new_zeros(len(group.slots), len(self.low))
        found[range(len(group.slots)), list(group.slots)] = 1.0
        return list(found)

    def _moved(self, images: Tensor, r: int, by: Tensor) -> Tensor:
        """Images whose region r is moved by [m, 2] px (down, right), its hole filled."""
        mask = self.pixels[r].to(images)[None, None].expand(len(images), 1, -1, -1)
        h, w = images.shape[2:]
        rows = torch.arange(h, device=images.device, dtype=images.dtype)
        columns = torch.arange(w, device=images.device, dtype=images.dtype)
        y = rows[None, :, None] - by[:, 0, None, None]
        x = columns[None, None, :] - by[:, 1, None, None]
        y, x = (one.expand(-1, h, w) for one in (y, x))
        grid = torch.stack((2 * (x + 0.5) / w - 1, 2 * (y + 0.5) / h - 1), 3)
        taken = functional.grid_sample(
            torch.cat((images * mask, mask), 1), grid, align_corners=False
        )
        there = taken[:, -1:]
        ground = images + mask * (self._filled(r) - images)
        return ground * (1 - there) + taken[:, :-1]

    def _filled(self, r: int) -> Tensor:
        """The image [1, c, h, w] with region r filled from around."""
        if r not in self._fills:
            self._fills[r] = from_around(self.image, self.pixels[r])
        return self._fills[r]

    def describe(self, theta: Tensor, group: Group) -> str:
        values = (theta * self.scale)[list(group.slots)].tolist()
        if group.attribute == "colour":
            return _brighter(sum(values) / len(values), values)
        if group.attribute == "texture":
            told = [
                f"{100 * abs(np.exp(v) - 1):.0f} % {'more' if v > 0 else 'less'} of its {name} "
                "texture"
                for v, name in zip(values, OCTAVES, strict=True)
                if abs(np.exp(v) - 1) >= 0.05
            ]
            return ", ".join(told) or "next to no change of texture"
        if group.attribute == "blur":
            return f"blurred by {100 * values[0]:.0f} %"
        if group.attribute == "exchange":
            names = [label for label, _ in self.donors[self.names.index(group.region)]]
            total = max(sum(values), 1.0)
            told = [
                f"by {100 * v / total:.0f} % that of {name}"
                for v, name in zip(values, names, strict=True)
                if v / total >= 0.05
            ]
            return ", ".join(told) or "next to nothing of another image"
        down, right = values
        return (
            f"moved by {abs(down):.1f} px {'down' if down > 0 else 'up'} and {abs(right):.1f} px "
            f"{'right' if right > 0 else 'left'}"
        )


def _brighter(mean: float, values: list[float]) -> str:
    """A colour offset in words, in parts of the range."""
    said = f"{100 * abs(mean):.0f} % of the range {'brighter' if mean > 0 else 'darker'}"
    if len(values) == 3 and max(values) - min(values) > 0.04:
        names = ("red", "green", "blue")
        most = max(range(3), key=lambda c: abs(values[c] - mean))
        said += f", {'more' if values[most] > mean else 'less'} {names[most]}"
    return said

"""RISE: which pixels are kept when the score is high, over random masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._masking import Interpolation, Masks, reader, respond, stretch
from conceptseg.explain.fill import Fill
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target

PIXELS_AT_ONCE = 2**22
"""How many pixels of masks are held at once when they are weighed, 32 MB of float64."""


@technique(family="perturbation", source="Petsiuk et al. 2018, arXiv:1806.07421")
class Rise(Explainer):
    """Mean of random masks, each weighed by the score of the image that it leaves.

    `plain`: L = 1 / (N p) sum_i T(x m_i + fill (1 - m_i)) m_i over N masks m_i, which estimates
    the mean score where a pixel is kept. `regression`: L = Cov(T, m) / Var(m) at each pixel, the
    slope of the score in that pixel's mask: what keeping it adds, in units of T, < 0 where it
    speaks against the target. A mask is a random grid of cells, each kept with probability p,
    enlarged to one cell more per axis than the image spans, and cut out at a random offset. One
    forward pass and N of masked images.

    Of `plain`, only differences within a map mean anything: for cells that add c_i to the score
    its mean is (1 - p) c_i + p sum c, so a constant added to the score raises all of it, and its
    noise, which falls as 1 / sqrt(N), grows with that constant. `regression` is blind to it. Both
    blur what they find by the size of a cell, which is a seventh of the image.

    Departures: nothing is normalised. The slope is the default, since the default target is a
    margin: it is negative as soon as enough is hidden, and the mean of negative scores marks no
    pixel. `plain` suits scores that are never negative. For segmentation the score is the target's,
    as for a class's mean probability over its region, `Target(c, score="probability")`, or the Dice
    coefficient of prediction and region (`measure`).

    Source: Petsiuk, Das and Saenko, "RISE: Randomized input sampling for explanation of black-box
    models", BMVC 2018, arXiv:1806.07421, eq. 6 and section 3.2; for segmentation Dardouillet et
    al., "Explainability of image semantic segmentation through SHAP values", 2022, hal-03719597.
    """

    masks: int = Field(4000, ge=2, description="How many masks.")
    grid: int = Field(7, ge=1, le=100, description="Cells of a mask along each axis.")
    keep: float = Field(0.5, gt=0, lt=1, description="Probability that a cell is kept.")
    fill: Fill = Field("neutral", description="What hidden pixels are filled with.")
    interpolation: Interpolation = Field("bilinear", description="How the grid is enlarged.")
    form: Literal["plain", "regression"] = Field(
        "regression", description="The published mean, or the score's slope in the mask."
    )
    measure: Literal["score", "dice"] = Field(
        "score", description="The target's score, or Dice of prediction and region."
    )
    seed: int = Field(0, ge=0, description="Seed of the masks.")

    @property
    def classes_only(self) -> bool:
        return self.measure != "score"

    def passes(self, scene: Scene) -> float:
        return 1.0 + self.masks

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        masks = RandomGrids.drawn(self, scene.size).to(scene.images.device)
        read = reader(scene, targets, self.measure)
        scores = respond(scene, self.fill, self.masks, masks, read).double()
        if self.form == "plain":
            return weighed(scores, masks, scene.size) / (self.masks * self.keep)
        spread = _spread(masks, self.masks, self.keep, scene.size)
        covaried = weighed(scores - scores.mean(-1, keepdim=True), masks, scene.size)
        return covaried / spread.masked_fill(spread == 0, torch.inf)


@dataclass(frozen=True)
class RandomGrids:
    """The published masks: grids of cells [N, g, g], enlarged, each cut out at its own offset.

    `rows` [windows, g, h] and `columns` [windows, g, w] hold the enlargement's weights as seen
    from each offset; `offsets` [N, 2]. A range start..stop gives masks [r, h, w], float64.
    """

    cells: Tensor
    offsets: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def drawn(cls, method: Rise, size: tuple[int, int]) -> Self:
        random = torch.Generator().manual_seed(method.seed)
        count, grid = method.masks, method.grid
        cells = torch.rand(count, grid, grid, generator=random) < method.keep
        pitch = [ceil(length / grid) for length in size]
        offsets = [torch.randint(step, (count,), generator=random) for step in pitch]
        rows, columns = (
            stretch(grid, (grid + 1) * step, method.interpolation).unfold(0, length, 1)
            for step, length in zip(pitch, size, strict=True)
        )
        return cls(cells.double(), torch.stack(offsets, 1), rows, columns)

    def to(self, device: torch.device) -> RandomGrids:
        parts = (self.cells, self.offsets, self.rows, self.columns)
        return RandomGrids(*(part.to(device) for part in parts))

    def __call__(self, start: int, stop: int) -> Tensor:
        down, right = self.offsets[start:stop].unbind(1)
        return self.rows[down].mT @ self.cells[start:stop] @ self.columns[right]


def weighed(scores: Tensor, masks: Masks, size: tuple[int, int]) -> Tensor:
    """sum_i s_i m_i for scores [t, n, N], float64 [t, n, h, w]."""
    flat = scores.flatten(0, 1)
    total = flat.new_zeros(flat.shape[0], size[0] * size[1])
    for start, stop in _pieces(scores.shape[-1], size):
        total += flat[:, start:stop] @ masks(start, stop).flatten(1)
    return total.unflatten(1, size).unflatten(0, scores.shape[:2])


def _spread(masks: Masks, count: int, middle: float, size: tuple[int, int]) -> Tensor:
    """sum_i (m_i - mean m)^2 at each pixel, float64 [h, w], 0 where a pixel's mask never changes.

    `middle` lies near the mean: what is summed are squares of distances to it.
    """
    pieces = (masks(start, stop) - middle for start, stop in _pieces(count, size))
    sums = [(away.sum(0), away.square().sum(0)) for away in pieces]
    first, second = (torch.stack(parts).sum(0) for parts in zip(*sums, strict=True))
    spread = second - first.square() / count
    return spread.masked_fill(spread < 1e-12 * second, 0.0)


def _pieces(count: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Ranges of masks that are held at once; told by the image's size alone."""
    step = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    return [(start, min(start + step, count)) for start in range(0, count, step)]

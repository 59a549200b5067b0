"""Seg-Sobol: how much of the score's variance goes away with a cell of the image."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._masking import Interpolation, reader, respond, stretch
from conceptseg.explain.fill import Fill
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target

MOST, FEWEST = 64, 32
"""Cells along an axis at most, and points at least where their number is not given."""
Cells = Annotated[int, Field(ge=1, le=MOST)]


@technique(family="perturbation", source="Shreim et al. 2023, arXiv:2310.01828")
class SegSobol(Explainer):
    """Total Sobol index of each cell of a grid: its share in the variance of the score.

    Y(z) = T(x m + fill (1 - m)) with the mask m enlarged from a grid z in [0, 1]^d of d cells:
    G G of a square image, of others about as many that are nearly square too. ST_i = sum_n
    (Y(A_n) - Y(AB_i,n))^2 / (2 N Var Y(A)) by Jansen's estimator, for N points A, and AB_i,
    which are A with cell i from N other points B, both of a Sobol sequence in 2 d dimensions.
    No unit, >= 0, without sign: a cell that speaks against the target counts like one that
    speaks for it. For scores that are sums over cells, shares sum to 1, else to more. 0 where Y
    varies by no more than rounding. One forward pass and N (d + 1) of masked images.

    With few points the design favours some cells: at the published G = 11 and N = 32, cells of
    equal influence get indices that differ up to fivefold, alike for every image, because the
    mean of (A_i - B_i)^2, ideally 1 / 6, ranges from 0.03 to 0.17. `balance` divides it out, which
    is exact for sums over cells and linear masks; more points (`samples`) cure it too.

    Departures: the grid follows the image's shape (`grid: [11, 11]` does not), and its points
    the number of cells. The authors' N (d + 2) passes include Y(B), which the estimator does
    not use. Theirs are the sum of the class's scores over the region, `Target(c,
    score="probability", reduce="sum")`, and a fill of 0 after preprocessing.

    Source: Shreim, Gizzini and Ghandour, "Trainable noise model as an XAI evaluation method:
    application on Sobol for remote sensing image segmentation", 2023, arXiv:2310.01828; Fel et al.,
    "Look at the variance!", NeurIPS 2021, arXiv:2111.04138; Jansen 1999,
    10.1016/S0010-4655(98)00154-4.
    """

    grid: Cells | tuple[Cells, Cells] = Field(
        11,
        description="Cells along each axis of a square image, G, of which others get as many; or "
        "rows and columns.",
    )
    samples: int | None = Field(
        None,
        ge=2,
        description="Points N, a power of two; absent: 32, or as many more as it takes to move "
        "each cell.",
    )
    fill: Fill = Field("neutral", description="What hidden pixels are filled with.")
    interpolation: Interpolation = Field("nearest", description="How the grid is enlarged.")
    balance: bool = Field(
        False, description="Divide out how unevenly the points move the cells; not as published."
    )
    scramble: int | None = Field(
        None, ge=0, description="Seed that scrambles the sequence; absent: plain, as published."
    )

    @field_validator("samples")
    @classmethod
    def _power_of_two(cls, samples: int | None) -> int | None:
        if samples is not None and samples & (samples - 1):
            below = 1 << (samples.bit_length() - 1)
            raise ValueError(f"a power of two is needed, take {below} or {2 * below}")
        return samples

    def check(self, scene: Scene) -> None:
        self._points(self._cells(scene.size))

    def _cells(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the grid on an image of height and width `size`."""
        if not isinstance(self.grid, int):
            return self.grid
        lengthened = (size[0] / size[1]) ** 0.5
        most = (min(size[0], MOST), min(size[1], MOST))
        rows, columns = round(self.grid * lengthened), round(self.grid / lengthened)
        return min(max(rows, 1), most[0]), min(max(columns, 1), most[1])

    def passes(self, scene: Scene) -> float:
        grid = self._cells(scene.size)
        return 1.0 + len(self._points(grid)[0]) * (1 + grid[0] * grid[1])

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        device = scene.images.device
        grid = self._cells(scene.size)
        first, second = (points.to(device) for points in self._points(grid))
        rows, columns = (
            stretch(cells, size, self.interpolation).to(device)
            for cells, size in zip(grid, scene.size, strict=True)
        )
        step = 1 + grid[0] * grid[1]

        def masks(start: int, stop: int) -> Tensor:
            at = torch.arange(start, stop, device=device)
            point, cell = at // step, (at % step - 1)[:, None]
            swapped = torch.arange(step - 1, device=device) == cell
            grids = torch.where(swapped, second[point], first[point])
            return rows @ grids.unflatten(1, grid) @ columns.T

        read = reader(scene, targets, "score")
        scores = respond(scene, self.fill, len(first) * step, masks, read)
        indices = total_indices(scores.unflatten(-1, (len(first), step)))
        if self.balance:
            indices = indices / (6 * (first - second).square().mean(0))
        return indices.unflatten(-1, grid)

    def _points(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The points A and B for a grid, each float64 [N, d].

        Raises InputError where some cell is the same in all points of A and B, which would pass
        for a cell without influence, and N was given.
        """
        cells = grid[0] * grid[1]
        count = self.samples or FEWEST
        first, second = self._drawn(cells, count)
        while (still := int((first == second).all(0).sum())) and self.samples is None:
            count *= 2
            first, second = self._drawn(cells, count)
        if still:
            enough = count
            while (first == second).all(0).any():
                enough *= 2
                first, second = self._drawn(cells, enough)
            raise InputError(
                f"{count} samples leave {still} of {cells} cells unchanged; take {enough}, leave "
                "samples out, or scramble them"
            )
        return first, second

    def _drawn(self, cells: int, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` points of the sequence, cut into A and B."""
        from scipy.stats import qmc

        scrambled = self.scramble is not None
        sequence = qmc.Sobol(2 * cells, scramble=scrambled, seed=self.scramble)
        first, second = torch.from_numpy(sequence.random(count)).chunk(2, 1)
        return first, second


def total_indices(scores: Tensor) -> Tensor:
    """Jansen's total indices, float64 [..., d], of scores [..., N, 1 + d]: of A, then of each AB_i.

    0 where the variance of A's scores is no more than that of rounding in the scores' precision.
    """
    rounding = 8 * torch.finfo(scores.dtype).eps * scores.abs().amax((-2, -1)).double()
    plain, swapped = scores.double().split([1, scores.shape[-1] - 1], -1)
    variance = plain.var((-2, -1))
    moved = (plain - swapped).square().sum(-2) / (2 * scores.shape[-2])
    still = variance <= rounding.square()
    return (moved / variance[..., None]).masked_fill(still[..., None], 0.0)

"""Seg-Sobol: how much of the score's variance goes away with a cell of the image."""

from collections.abc import Sequence

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


@technique(family="perturbation", source="Shreim et al. 2023, arXiv:2310.01828")
class SegSobol(Explainer):
    """Total Sobol index of each cell of a grid: its share in the variance of the score.

    Y(z) = T(x m + fill (1 - m)) with the mask m enlarged from a grid z in [0, 1]^d of d = G G
    cells. ST_i = sum_n (Y(A_n) - Y(AB_i,n))^2 / (2 N Var Y(A)) by Jansen's estimator, for N points
    A, and AB_i, which are A with cell i from N other points B, both of a Sobol sequence in 2 d
    dimensions. No unit, >= 0, without sign: a cell that speaks against the target counts like one
    that speaks for it. For scores that are sums over cells, shares sum to 1, else to more. 0
    where Y varies by no more than rounding. One forward pass and N (d + 1) of masked images.

    With few points the design favours some cells: at the published G = 11 and N = 32, cells of
    equal influence get indices that differ up to fivefold, alike for every image, because the
    mean of (A_i - B_i)^2, ideally 1 / 6, ranges from 0.03 to 0.17. `balance` divides it out, which
    is exact for sums over cells and linear masks; more points (`samples`) cure it too.

    Departures: the authors' N (d + 2) passes include Y(B), which the estimator does not use. Theirs
    are the sum of the class's scores over the region, `Target(c, score="probability",
    reduce="sum")`, and a fill of 0 after preprocessing.

    Source: Shreim, Gizzini and Ghandour, "Trainable noise model as an XAI evaluation method:
    application on Sobol for remote sensing image segmentation", 2023, arXiv:2310.01828; Fel et al.,
    "Look at the variance!", NeurIPS 2021, arXiv:2111.04138; Jansen 1999,
    10.1016/S0010-4655(98)00154-4.
    """

    grid: int = Field(11, ge=1, le=64, description="Cells along each axis, G.")
    samples: int = Field(32, ge=2, description="Points N, a power of two.")
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
    def _power_of_two(cls, samples: int) -> int:
        if samples & (samples - 1):
            below = 1 << (samples.bit_length() - 1)
            raise ValueError(f"a power of two is needed, take {below} or {2 * below}")
        return samples

    def check(self, scene: Scene) -> None:
        self._points()

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        device = scene.images.device
        first, second = (points.to(device) for points in self._points())
        rows, columns = (
            stretch(self.grid, size, self.interpolation).to(device) for size in scene.size
        )
        step = 1 + self.grid**2

        def masks(start: int, stop: int) -> Tensor:
            at = torch.arange(start, stop, device=device)
            point, cell = at // step, (at % step - 1)[:, None]
            swapped = torch.arange(step - 1, device=device) == cell
            grids = torch.where(swapped, second[point], first[point])
            return rows @ grids.unflatten(1, (self.grid, self.grid)) @ columns.T

        read = reader(scene, targets, "score")
        scores = respond(scene, self.fill, self.samples * step, masks, read)
        indices = total_indices(scores.unflatten(-1, (self.samples, step)))
        if self.balance:
            indices = indices / (6 * (first - second).square().mean(0))
        return indices.unflatten(-1, (self.grid, self.grid))

    def _points(self) -> tuple[Tensor, Tensor]:
        """The points A and B, each float64 [N, d].

        Raises InputError where some cell is the same in all points of A and B, which would pass
        for a cell without influence.
        """
        from scipy.stats import qmc

        scrambled = self.scramble is not None
        sequence = qmc.Sobol(2 * self.grid**2, scramble=scrambled, seed=self.scramble)
        points = torch.from_numpy(sequence.random(self.samples))
        first, second = points.chunk(2, 1)
        still = int((first == second).all(0).sum())
        if still:
            raise InputError(
                f"{self.samples} samples leave {still} of {self.grid**2} cells unchanged; take "
                f"{2 * self.samples}, or scramble them"
            )
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

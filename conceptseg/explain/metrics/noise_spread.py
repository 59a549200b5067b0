"""Noise spread: how much a map differs from noisy copy to noisy copy, pixel by pixel."""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial, unit
from conceptseg.explain.metrics._base import NAN, MapMetric
from conceptseg.explain.noise import noisy
from conceptseg.explain.target import FixedTarget, pinned


@technique(family="robustness", source="Gan et al. 2022, arXiv:2209.01782")
class NoiseSpread(MapMetric):
    """Standard deviation of a map's pixels over noisy copies of the image, averaged over pixels.

    Each of the maps L_1 ... L_n of n noisy copies (uniform noise in [-radius, radius], cut off at
    black and white; the target's region stays that of the clean image) is brought to [0, 1] by its
    least and largest value; the number is the mean over pixels of the deviation (1 / (n - 1)) over
    the copies. In [0, 0.71], of no unit; 0 for a map that the noise does not move. As costly as
    one more map for each draw. nan where the region is empty, or
    the image's own map zero.

    It says nothing of whether a map is right: the region's mask and a centred Gaussian score 0. A
    map of few bright pixels has a small spread because most of it is 0 each time. That the
    prediction holds under the noise is not asked; `stability` asks it.

    Source: Gan et al., "MeTFA: a robustness evaluation framework for feature attribution", ACM CCS
    2022, arXiv:2209.01782 (stability).
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    draws: int = Field(10, ge=2, description="Noisy copies of each image.")
    radius: float = Field(
        0.1, gt=0, le=1, description="Bound of the noise, on the images' scale of [0, 1]."
    )
    seed: int = Field(1, ge=0, description="Seed of the noise; metfa's own is another.")

    @property
    def bounds(self) -> tuple[float, float] | None:
        return (0.0, 0.71)

    @property
    def further(self) -> int:
        return self.draws

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        scene, target = trial.scene, pinned(trial.target, region.mask)
        rows = list(range(len(scene)))
        total = torch.zeros_like(trial.attributions, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for draw in range(self.draws):
            other = scene.beside(noisy(scene, rows, self.radius, self.seed, draw), rows)
            found = unit(trial.explainer.on(other, [target])[0]).double()
            total += found
            squares += found.square()
        mean = total / self.draws
        variance = (squares / self.draws - mean.square()).clamp(min=0)
        spread = (variance * self.draws / (self.draws - 1)).sqrt()
        silent = ~trial.attributions.flatten(1).any(1)
        return Measured(spread.mean((1, 2)).masked_fill(silent, NAN))

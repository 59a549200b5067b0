"""Manipulability: how far noise that nobody sees can bend a map while the prediction holds."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.manipulate import Search
from conceptseg.explain.metrics._base import NAN, MapMetric, correlation
from conceptseg.explain.target import FixedTarget

UNMOVED = 1e-5
"""Part of a map's norm below which a difference of two maps is rounding: no change at all."""


@technique(family="robustness", source="Gipiškis et al. 2023, IEEE Systems Journal; search is ours")
class Manipulability(MapMetric):
    """Largest change of a map that noise of a bounded size was found to make, prediction kept.

    The change is 1 - Pearson's correlation of the map of x + d with that of x, for the same pixels
    of the class, with |d| = `epsilon` in each pixel (less at black and white) and Dice of the
    class's prediction with the clean one of at least `agreement`. In [0, 2], 0 for a map that
    cannot be moved, of no unit. The noise is sought on the network and the method as they are, by
    random signs that are then changed square by square wherever the change grows
    (:mod:`conceptseg.explain.manipulate`): it is a lower bound, and more steps find more. The curve
    holds the largest change after each step; its first point is that of the best of `random` draws
    of plain noise of the same norm. `read: excess` takes the last point less the first: what the
    search adds to noise. As costly as `random` + `steps` maps, and `random` forward passes for each
    size that is tried. nan where the region is empty, the map is constant, or no draw keeps the
    prediction.

    Where all `random` draws change the prediction, as they do of thin regions, noise of that size
    is not noise that nobody sees: half of it is taken, at most four times. A map that does not look
    at the image cannot be moved and is worth nothing. A change may be right, where the network
    reasons differently under the noise.

    Departures: published attacks follow second derivatives, of a copy of the network with softened
    rectifiers (Dombrowski et al. 2019, arXiv:1906.07983) or by a loss that is not known to us;
    ours needs none, works for methods without gradients, and is weaker where there are some.

    Source: Gipiškis, Chiaro, Preziosi, Prezioso and Piccialli, "The impact of adversarial attacks
    on interpretable semantic segmentation in cyber-physical systems", IEEE Systems Journal 2023;
    Ghorbani, Abid and Zou, "Interpretation of neural networks is fragile", AAAI 2019.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    epsilon: float = Field(
        4 / 255, gt=0, le=1, description="Size of the noise, on the images' scale of [0, 1]."
    )
    steps: int = Field(20, ge=1, description="Steps of the search, a map each.")
    random: int = Field(5, ge=1, description="Draws of plain noise before them, a map each.")
    agreement: float = Field(
        0.99, ge=0, le=1, description="Dice with the clean prediction that has to be kept."
    )
    read: Literal["change", "excess"] = Field(
        "change", description="The largest change, or what of it the search adds to plain noise."
    )
    seed: int = Field(0, ge=0, description="Seed of the noise, the same for every image.")

    @property
    def bounds(self) -> tuple[float, float] | None:
        return (0.0, 2.0)

    @property
    def further(self) -> int:
        return self.random + self.steps

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        clean = trial.attributions
        search = Search(self.epsilon, self.steps, self.random, self.agreement, self.seed)
        found = search.run(
            trial.scene, trial.explainer, trial.target, lambda maps: change(clean, maps)
        )
        curve = found.curve.masked_fill(found.curve.isinf(), NAN)
        curve = curve.masked_fill(constant(clean)[:, None], NAN)
        value = curve[:, -1] - curve[:, 0] if self.read == "excess" else curve[:, -1]
        return Measured(value, curve, tuple(float(step) for step in range(self.steps + 1)))


def constant(maps: Tensor) -> Tensor:
    """Whether maps [n, h, w] are the same everywhere, [n]."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def change(clean: Tensor, maps: Tensor) -> Tensor:
    """1 - correlation of maps [n, h, w] with clean ones: [n]; 1 with a map that turned constant.

    Exactly 0 where they differ by rounding alone.
    """
    pairs = clean.flatten(1).double(), maps.flatten(1).double()
    moved = (1 - correlation(*pairs)).nan_to_num(1.0)
    same = (pairs[0] - pairs[1]).abs().amax(1) <= UNMOVED * pairs[0].abs().amax(1)
    return torch.where(same, torch.zeros_like(moved), moved).clamp(min=0)

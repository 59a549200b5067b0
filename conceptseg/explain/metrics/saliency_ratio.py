"""Saliency ratio: how large a map's salient area is beside the prediction."""

from typing import ClassVar, Literal

import torch

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import Reference, ThresholdMetric, share
from conceptseg.explain.target import FixedTarget


@technique(family="compactness", source="Hasany et al. 2024, section 3.3")
class SaliencyRatio(ThresholdMetric):
    """Area of a map's salient pixels, as a multiple of the area predicted as the class.

    SR(t) = |b| / |P| with b = [L >= t], L the map in [0, 1], and P the class's prediction within
    the region; from 0 to the image's area over |P|, falling in t. The curve is over thresholds.
    No pass but the clean one. nan where the region has no pixel that is predicted as the class. 0
    for a map of zeros (at thresholds above 0).

    It cannot tell whether the salient pixels are the right ones: an empty map is best. Read it
    together with Dice explained, at the same thresholds.

    Source: Hasany, Meriaudeau and Petitjean 2024, doi:10.1007/978-3-031-63797-1_9, section 3.3.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"

    @property
    def bounds(self) -> tuple[float, float] | None:
        return None  # a multiple of the predicted area

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        saliency = self.saliency(trial)
        areas = torch.stack([(saliency >= t).sum((1, 2)) for t in self.at], 1)
        own = Reference.of(trial.scene, region).own.sum((1, 2))
        return self.measured(share(areas, own[:, None]))

"""Pointing game: whether a map's largest value lies where it is expected."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import StrengthMetric, Within, dilated, share, surroundings
from conceptseg.explain.target import FixedTarget


@technique(family="localisation", source="Zhang et al. 2016, arXiv:1608.00507")
class PointingGame(StrengthMetric):
    """Whether a map's most salient pixel lies in the region, or in a known context: 1 or 0.

    1 if the pixel with the largest attribution (or absolute value) lies in the expected set or at
    most `tolerance_px` from it, else 0; where several pixels share the largest value, the share of
    them that do. By chance the set's share of the image. No pass. nan where the region or the set
    is empty, and where no attribution is salient: such a map points nowhere.

    It cannot tell more than one pixel: a map whose peak is right may be wrong everywhere else.

    Departures: no tolerance by default, since regions are masks of pixels; Zhang et al. take 15 px
    around annotations of photographs.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016,
    arXiv:1608.00507, section 4.1.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    within: Within = Field("region", description="Where the map is expected to point.")
    tolerance_px: float = Field(0.0, ge=0, description="Distance that still counts as a hit.")

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        strength = self.strength(trial.attributions)
        expected = surroundings(self, trial, region, self.within)
        largest = strength.amax((1, 2), keepdim=True)
        peak = (strength == largest) & (largest > 0)
        hit = peak & dilated(expected, self.tolerance_px)
        found = share(hit.sum((1, 2)), peak.sum((1, 2)))
        return Measured(found.masked_fill(~expected.any(2).any(1), float("nan")))

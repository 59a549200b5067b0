"""Context share: how much of a map lies outside of the region that it explains."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import StrengthMetric, dilated, share
from conceptseg.explain.target import FixedTarget


@technique(family="context", source="a description of the map; no paper")
class ContextShare(StrengthMetric):
    """Share of a map's mass that lies outside of the region and of a margin around it.

    sum of S outside of M' / sum of S, with S the map's positive part (or absolute values) and M'
    the region M grown by `radius_px`; in [0, 1]. No pass. nan where the region is empty or the
    map has no mass.

    It describes and does not judge: mass outside is right where the network uses the context and
    wrong where it does not. Coarse maps spill over the region's edge: grow it by about one cell
    of the layer, or compare 0, 5 and 20 px.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"
    radius_px: float = Field(5.0, ge=0, description="Margin around the region that counts as it.")

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        strength = self.strength(trial.attributions)
        outside = strength.masked_fill(dilated(region.mask, self.radius_px), 0.0)
        return Measured(share(outside.sum((1, 2)), strength.sum((1, 2))))

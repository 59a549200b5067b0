"""Trace of the prediction: how far a map is a copy of the region's own mask."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import MapMetric, correlation, ranks
from conceptseg.explain.target import FixedTarget


@technique(family="sanity", source="a description of the map; no paper")
class TraceOfPrediction(MapMetric):
    """Correlation of a map with the mask of the region that it explains.

    Pearson's correlation over pixels of the signed map and the region's mask (1 inside, 0
    outside), or of their ranks; in [-1, 1]. 1: the map merely copies the mask, and whatever it
    scores elsewhere could be had without a method. No pass. nan where the region is empty or the
    whole image, and where the map is constant.

    It describes and does not judge: a network that looks at the object alone has a faithful map
    that traces it. Near 0 it does not tell noise from context.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"
    by: Literal["value", "rank"] = Field(
        "value", description="Whether attributions or their ranks are correlated."
    )

    @property
    def bounds(self) -> tuple[float, float] | None:
        return (-1.0, 1.0)

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        rows, mask = trial.attributions.flatten(1), region.mask.flatten(1).to(trial.attributions)
        if self.by == "rank":
            rows, mask = ranks(rows), ranks(mask)
        return Measured(correlation(rows, mask))

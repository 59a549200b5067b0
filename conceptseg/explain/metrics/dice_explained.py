"""Dice Explained: whether a map's salient pixels alone bring the prediction about."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.metrics._base import Reference, ThresholdMetric, blended
from conceptseg.explain.target import FixedTarget


@technique(family="faithfulness", source="Hasany et al. 2024, section 3.3")
class DiceExplained(ThresholdMetric):
    """Dice overlap of the prediction from a map's salient pixels alone with the clean one.

    DE(t) = 2 |P_b and P| / (|P_b| + |P|) with b = [L >= t], L the map in [0, 1], P the class's
    clean prediction within the region and P_b its prediction on the image of which all but b is
    replaced by the fill; in [0, 1]. Class pixels outside of the region do not count either way.
    The curve is over thresholds. One forward pass per threshold. nan where the region has no
    pixel that is predicted as the class. A map of zeros has the Dice of the fill alone (at
    thresholds above 0).

    It cannot tell a good map from one that simply keeps much of the image: read it together with
    the saliency ratio. It depends on the fill, and `minmax` lets one outlying pixel decide b; the
    prediction's own mask scores high by tracing the object.

    Departures: the source states neither the fill nor whether the threshold itself is salient;
    here it is, and the fill is a parameter. The source takes thresholds 0.05 and 0.1 for maps of
    feature space, 0.2 and 0.4 for RISE.

    Source: Hasany, Meriaudeau and Petitjean 2024, doi:10.1007/978-3-031-63797-1_9, section 3.3.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    fill: Fill = Field("mean", description="What takes the place of pixels that are not salient.")

    @property
    def passes(self) -> int:
        return len(self.at)

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        scene, saliency = trial.scene, self.saliency(trial)
        hidden = filling(scene.model, scene.images, self.fill)

        def vary(images: Tensor, start: int, stop: int) -> Tensor:
            salient = torch.stack([saliency >= t for t in self.at[start:stop]], 1)
            return blended(images, hidden, salient)

        reference = Reference.of(scene, region)
        return self.measured(scene.respond(len(self.at), vary, reference.dice))

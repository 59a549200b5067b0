"""The explained region and what lies near it: how much is known from the prediction alone."""

import torch
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._baseline import Baseline
from conceptseg.explain.regions import distance_to
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="baseline", source="control; no publication")
class DilatedPrediction(Baseline):
    """Nearness to the target's region: 1 on it, and less the farther away.

    L = 1 / (1 + d), d the Euclidean distance in pixels, between pixels' centres, to the nearest
    pixel of the region; in (0, 1], no unit; no pass of its own. Its most salient pixels are the
    prediction, dilated as far as it takes. A map whose order of pixels does no better may know that
    the class lies where it is predicted, and nothing else.
    """

    def map(self, scene: Scene, target: Target) -> Tensor:
        away = distance_to(scene.fix(target).mask).to(scene.images.device)
        return torch.reciprocal(1 + away)

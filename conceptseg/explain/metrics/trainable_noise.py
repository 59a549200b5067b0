"""Trainable noise: how much noise the places may bear that a map marks, to a fitted network."""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.explainers._paths import portions
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.metrics._base import ThresholdMetric
from conceptseg.explain.noise_model import CURE, KIND, log_levels, read_channels, restored
from conceptseg.explain.target import FixedTarget


@technique(family="faithfulness", source="Shreim et al. 2023 (TNM), by the public code")
class TrainableNoise(ThresholdMetric):
    """Mean noise level of the marked pixels, of the image multiplied by the map.

    With h the noise network of `u_noise` for the class c, L the map in [0, 1] and t a threshold,

        N(t) = mean of sigmoid(h_c(x L)) over pixels with L > t

    (`moment: 2`: of its square). In [0, 1], without a unit; lower is better, for what must not be
    disturbed bears little noise. A pass of h, none of the segmenter; nan where no pixel is above
    the threshold, and where the region is empty.

    Secondary, and weak as published: h was fitted to whole images and has never seen masked ones;
    a threshold marks areas of different size for different methods, and a map that marks a handful
    of pixels can score what it likes. Read it beside saliency ratio.

    Source: Shreim, Gizzini and Ghandour, "Trainable noise model as an XAI evaluation method:
    application on Sobol for remote sensing image segmentation", 2023, arXiv:2310.01828: four ways
    to join image and map are named there, of which the product is used.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    weights: Path | None = Field(
        None,
        description="Run of `conceptseg noise`, or file of a noise network, fitted to this one.",
    )
    moment: Literal[1, 2] = Field(1, description="Mean of the level, or of its square.")

    @property
    def fitted(self) -> bool:
        return True

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        if self.weights is None:
            raise InputError(f"trainable_noise: weights: none are given; {CURE}")
        scene = trial.scene
        kept = Fitted.load(self.weights, KIND, scene.model, CURE)
        net, classes, noise = restored(kept, scene.images)
        if region.class_id not in classes:
            raise InputError(
                f"trainable_noise: weights: {self.weights} was not fitted to "
                f"{scene.model.classes[region.class_id]}; {CURE}"
            )
        strength, parts = self.saliency(trial), list[Tensor]()
        with torch.no_grad():
            for rows in portions(scene):
                masked = scene.images[rows] * strength[rows, None].to(scene.images)
                levels = log_levels(net, read_channels(scene.model, masked), noise)
                parts.append(levels[:, classes.index(region.class_id)].exp() ** self.moment)
        level = torch.cat(parts)
        curve = []
        for threshold in self.at:
            marked = strength > threshold
            total = (level * marked).sum((1, 2)) / marked.sum((1, 2))
            curve.append(total.masked_fill(~marked.any(2).any(1), float("nan")))
        return self.measured(torch.stack(curve, 1))

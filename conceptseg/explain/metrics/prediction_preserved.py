"""Prediction preserved: the probability that is left when a map masks the image."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.metrics._base import MaskMetric, Reference, blended, share
from conceptseg.explain.target import FixedTarget


@technique(family="faithfulness", source="Mullan and Sonka 2022, SPIE 12032")
class PredictionPreserved(MaskMetric):
    """Share of the class's probability that is left when the map masks the image.

    PPS = sum min(p, p_m) / sum p over pixels, with p the class's probability on the image and p_m
    that on m x + (1 - m) fill, m the map in [0, 1] (or [m >= threshold]); in [0, 1]. Pixels of the
    class outside of the region do not count. One forward pass. nan where the region is empty. A
    map of zeros has what is left by the fill alone.

    It cannot tell a good map from one that keeps everything: read it together with image
    preserved. Probability that the masked image gains where there was none goes unseen.

    Departures: the authors skip images whose prediction sums to less than 100 pixels.

    Source: Mullan and Sonka, "Visual attribution for deep learning segmentation in medical
    imaging", SPIE Medical Imaging 12032, 2022.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    fill: Fill = Field("black", description="What the mask fades to; black as published.")

    @property
    def passes(self) -> int:
        return 1

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        scene, mask = trial.scene, self.mask(trial)
        hidden = filling(scene.model, scene.images, self.fill)
        counted = Reference.of(scene, region).counted

        def vary(images: Tensor, start: int, stop: int) -> Tensor:
            return blended(images, hidden, mask[:, None])

        def probability(logits: Tensor) -> Tensor:
            return logits.softmax(1)[:, region.class_id] * counted

        before = probability(scene.logits)
        left = scene.respond(
            1, vary, lambda logits: probability(logits).minimum(before).sum((1, 2))
        )
        return Measured(share(left[:, 0], before.sum((1, 2))))

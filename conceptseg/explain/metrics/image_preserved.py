"""Image preserved: how much of the image a map keeps."""

from typing import ClassVar, Literal

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import MaskMetric
from conceptseg.explain.target import FixedTarget


@technique(family="compactness", source="Mullan and Sonka 2022, SPIE 12032")
class ImagePreserved(MaskMetric):
    """Mean of the map in [0, 1]: the share of the image that it keeps as a mask.

    IPS = mean of m over pixels, with m the map in [0, 1] (or [m >= threshold], then the salient
    share of the image's area); in [0, 1]. No pass. nan where the region is empty; 0 for a map of
    zeros.

    It cannot tell whether what is kept is the right part: an empty map is best. Read it together
    with prediction preserved.

    Source: Mullan and Sonka, "Visual attribution for deep learning segmentation in medical
    imaging", SPIE Medical Imaging 12032, 2022.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        return Measured(self.mask(trial).mean((1, 2)))

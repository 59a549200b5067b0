"""Deletion: how soon the score falls when the most salient pixels are hidden first."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.fill import Fill
from conceptseg.explain.metrics._order import PixelOrder


@technique(family="faithfulness", source="Petsiuk et al. 2018, arXiv:1806.07421")
class Deletion(PixelOrder):
    """Area under the score's curve as pixels are hidden, the most salient ones first.

    Q(q) is the score when the share q of pixels with the largest (signed) attributions shows the
    fill, q = 0, 1 / steps, ..., 1; the value is its area by the trapezoidal rule, in units of the
    score: unbounded for a margin or logit, in [0, 1] for `probability` and `dice`. The curve
    begins at the clean image's score and ends at the fill's. steps + 1 forward passes. Equal
    attributions are deleted in a seeded random order, so that a map of zeros has the curve of that
    order. nan where the region is empty, for `dice` where it has no pixel of the class, and for
    `within="context"` where nothing is outside.

    It cannot tell evidence that is gone from an image that has become strange: the fill is outside
    of what the network was trained on, so take more than one. Maps that copy the object do well by
    erasing it; `within="context"` asks of the surroundings alone. Unbounded scores should not be
    averaged over targets of different scale.

    `robust: n` averages the curves of n noisy copies, in the order of the clean image's map, each
    divided by its own score when all is shown: in units of that score, and without an upper bound.

    Source: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", BMVC 2018, arXiv:1806.07421; Samek et al. 2017, arXiv:1509.06321.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    inserts: ClassVar[bool] = False
    fill: Fill = Field("mean", description="What deleted pixels show.")

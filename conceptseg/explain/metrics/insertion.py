"""Insertion: how soon the score rises when the most salient pixels are shown first."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.fill import Fill
from conceptseg.explain.metrics._order import PixelOrder


@technique(family="faithfulness", source="Petsiuk et al. 2018, arXiv:1806.07421")
class Insertion(PixelOrder):
    """Area under the score's curve as pixels are shown, the most salient ones first.

    Q(q) is the score when the share q of pixels with the largest (signed) attributions shows the
    image and the others the fill, q = 0, 1 / steps, ..., 1; the value is its area by the
    trapezoidal rule, in units of the score: unbounded for a margin or logit, in [0, 1] for
    `probability` and `dice`. The curve begins at the fill's score and ends at the clean image's.
    With `within="context"` the region is always shown. steps + 1 forward passes. Equal
    attributions are inserted in a seeded random order, so that a map of zeros has the curve of
    that order. nan where the region is empty, for `dice` where it has no pixel of the class, and
    for `within="context"` where nothing is outside.

    It cannot tell which of several sufficient parts the network used: it stops rising at the
    first. The blur that is published hides fine texture only, so a class that lives on coarse
    shape starts high; take more than one fill. Unbounded scores should not be averaged over
    targets of different scale.

    `robust: n` averages the curves of n noisy copies, in the order of the clean image's map, each
    divided by its own score when all is shown: in units of that score, and without an upper bound.

    Source: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", BMVC 2018, arXiv:1806.07421.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    inserts: ClassVar[bool] = True
    fill: Fill = Field("blur", description="What pixels show before they are inserted.")

"""What a study's target is, in words."""

from conceptseg.config import TargetConfig

REGIONS = {
    "predicted": ("predicted", "the pixels predicted as the class"),
    "labelled": ("labelled", "the pixels labelled as the class"),
    "true_positive": ("rightly predicted", "the pixels rightly predicted as the class"),
    "false_positive": ("wrongly predicted", "the pixels wrongly predicted as the class"),
    "false_negative": ("missed", "the class's pixels that the prediction misses"),
    "everything": ("scored", "all pixels of the image"),
}
"""What a class is in an image that holds the region ("predicted in 3 images"), and the region."""


def scored_on(target: TargetConfig) -> str:
    """The pixels on which a class is scored: "the largest connected part of the pixels ..."."""
    words = REGIONS[target.region][1]
    if target.part == "boundary":
        words = f"the band within {target.radius_px:g} px of the edge of {words}"
    elif target.part != "whole":
        words = f"the {target.part} connected part of {words}"
    if target.box is not None:
        top, left, bottom, right = target.box
        words += f", within rows {top} to {bottom - 1} and columns {left} to {right - 1}"
    return words

"""Permutation: which parts of its input a network needs, class by class."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.engine.contract import Study

Family = Literal["channels", "colour", "frequency", "units"]
Scheme = Literal["swap", "conditional", "mean", "block", "pixel"]
EVERYTHING = "all channels"
OVERALL = "all classes"


@technique(
    family="importance",
    source="Fisher, Rudin & Dominici 2019 (arXiv 1801.01489); O'Sullivan et al. 2023 (2405.11500)",
)
class Permutation(Study):
    """What each class loses when a part of the image is another image's.

    Parts are bands and groups of bands, luminance and chroma, phase and amplitude by octave, and
    groups of the layer's units. A part is swapped whole, so it keeps its texture; bands are also
    exchanged given the others (conditional), because bands are correlated and images that no camera
    takes say little. Importance is the rise of 1 - IoU of a class, paired by image, with an
    interval over images and exchanges.

    Departures from permutation importance of tables: whole maps are exchanged, not pixels; donors
    are of other groups; overlap takes the place of accuracy, which background inflates. Further
    exchanges are spent only on parts that five have not decided.
    """

    features: tuple[Family, ...] = Field(
        ("channels", "colour", "frequency", "units"),
        min_length=1,
        description="Kinds of parts. Colour needs more than one channel.",
    )
    channel_names: tuple[str, ...] = Field((), description="Names of the channels, in order.")
    groups: dict[str, tuple[int, ...]] = Field(
        default_factory=dict,
        description="Named groups of channels, counted from 0: visible: [0, 1, 2].",
    )
    octaves: int = Field(
        4, ge=1, le=8, description="Octaves of amplitude; the last holds the rest."
    )
    unit_groups: int = Field(6, ge=1, le=64, description="Groups of like units of the layer.")
    schemes: tuple[Scheme, ...] = Field(
        ("swap", "conditional", "mean"),
        min_length=1,
        description="swap: the donor's part; conditional: what the other channels cannot predict "
        "of it; mean: the data set's mean; block and pixel: moved about within the image, for "
        "comparison. All but swap are for channels.",
    )
    block_px: int = Field(32, ge=2, description="Side of the blocks of the scheme block.")
    images: int = Field(60, ge=2, description="Images that are permuted, drawn by hash.")
    repeats: int = Field(5, ge=2, description="Exchanges of each part at first.")
    most_repeats: int = Field(20, ge=2, description="Exchanges of a part that is not yet decided.")
    extra_repeats: int = Field(
        1, ge=0, description="Exchanges in which likelihood and borders are measured too."
    )
    tolerance_px: int = Field(2, ge=1, description="How far borders may lie apart and still meet.")
    pairs: int = Field(
        4, ge=0, description="Parts of largest effect that are also exchanged two at a time."
    )
    smallest_effect: float = Field(
        0.005, ge=0, description="Loss of IoU up to which a part does not count as needed."
    )
    min_share: float = Field(
        0.0005,
        ge=0,
        lt=1,
        description="A class of less of an image than this is not counted in it.",
    )
    min_images: int = Field(5, ge=2, description="Fewer images than this, and a class is left out.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    gallery: int = Field(2, ge=0, description="Images of which every exchange is shown.")
    picture_px: int = Field(
        128, ge=32, le=4096, description="Longer side of the report's pictures."
    )

"""Ability: at which layer each class becomes readable, and what later layers lose of it."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.config import Layers, Reads
from conceptseg.engine.contract import MOST, Study

POSITION = "position alone"
"""The name of the baseline that sees where a pixel lies and nothing else."""


@technique(
    family="quality",
    source="He et al. 2023 (ProtoSeg, arXiv 2212.09206); Alain & Bengio 2017 for linear probes",
)
class Ability(Study):
    """How well each layer and unit separates the classes, against layers that learnt nothing.

    A layer is read by prototypes: each pixel goes to the class whose mean feature is nearest. Its
    ability for a class is the Dice of that map with the labels. Prototypes are learnt on half of
    the images and read on the other half; those of a single image, as published, are shown beside
    them, with what pure noise of as many units reaches: they are made from the prediction that they
    then read back, so wide layers look able even if they learnt nothing. Linear probes, a network
    with shuffled weights and the pixels' position are the other measures of chance.

    Departures from the published map: any number of classes; units scaled to unit variance;
    prototypes of a data set; and intervals.
    """

    most_images: ClassVar[int | None] = MOST

    reads: ClassVar[Reads] = "apart"

    layers: Layers = Field(
        None,
        description="Layers to read, each on its own; auto: those that carry the decision "
        "together; stages of the network when empty.",
    )
    most_layers: int = Field(10, ge=2, le=40, description="Stages at most, where none are named.")
    probe: bool = Field(True, description="Also fit a linear probe to each layer.")
    probe_units: int = Field(
        512, ge=2, description="Of wider layers the probe reads this many units, evenly spread."
    )
    control_images: int = Field(
        64,
        ge=0,
        description="Images read by noise. The network with shuffled weights learns from and reads "
        "all images, as the network itself does; with 0 there is neither control.",
    )
    unit_images: int = Field(40, ge=0, description="Images on which single units are read.")
    unit_px: int = Field(64, ge=8, description="Longer side of the grid on which units are read.")
    units_shown: int = Field(3, ge=1, description="Units shown for each class.")
    enough: float = Field(
        0.9, gt=0, le=1, description="Share of the output's Dice at which a class has emerged."
    )
    forgotten: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Dice by which a layer beats the output where one was forgotten.",
    )
    min_share: float = Field(
        0.0005,
        ge=0,
        lt=1,
        description="A class of less of an image than this is not counted in it.",
    )
    min_images: int = Field(5, ge=2, description="Fewer images than this, and a class is left out.")
    gallery: int = Field(8, ge=0, description="Forgotten objects that are shown.")
    smallest_effect: float = Field(
        0.02, ge=0, description="Dice that a layer must have above the output to be called better."
    )

    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )

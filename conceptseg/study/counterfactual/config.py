"""Counterfactual: the fewest parts of an image that have to look otherwise for another class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from conceptseg.catalogue import Editor, parse, technique
from conceptseg.config import ModelConfig
from conceptseg.engine.contract import Study

if TYPE_CHECKING:
    from conceptseg.explain.generate import Generator

ANY = "any other class"
ALL = "anything"
"""Attribute of all of a region's attributes together."""


@technique(
    family="counterfactual",
    source="OCTET's question (Zemni et al. 2023, arXiv:2211.12380); generators and tests are ours",
)
class Counterfactual(Study):
    """Which region, edited alone, turns a class into another, and by which attribute.

    A generator takes each image apart into groups of parameters, such as the colour of the road;
    nothing changed is the image bit for bit. For each group alone, for each region with all its
    groups, and for pairs where no group suffices, the smallest edit is sought that turns the
    class's region into another class, within what such regions look like in the data. Edits must
    hold in 8 bits and under noise, and are set against random ones of the same groups and size.

    Over images that says what a class can be lost by: "digit 3 becomes digit 9 in 96 % of images
    when the known context alone is edited".

    Not OCTET: no BlobGAN and no found objects; regions are those of the prediction, and the known
    context where the data set knows one.
    """

    generator: Editor = Field(
        "layers", description="How images are changed: a name, or a mapping with `kind`."
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        (), description="Pairs [from, to]; from each class to any other when empty."
    )
    images: int = Field(24, ge=2, description="Images of each pair, by hash.")
    classes_at_most: int = Field(
        3,
        ge=1,
        description="Classes if neither pairs nor data.classes name any: the most frequent.",
    )
    min_region_fraction: float = Field(
        0.005, gt=0, lt=1, description="Share of the image that a region must cover."
    )
    regions: int = Field(6, ge=1, le=30, description="Regions of an image, the largest ones.")
    reference: int = Field(
        200, ge=5, description="Images of each class that say how its regions look."
    )
    donors: int = Field(
        3, ge=0, le=10, description="Other images whose region may stand in its place, of each."
    )
    steps: int = Field(20, ge=1, description="Steps of the search, at most, for each group.")
    beyond: float = Field(
        0.5, ge=0, le=100, description="Margin in logits by which the other class has to win."
    )
    together: int = Field(
        4, ge=0, le=8, description="Groups of which pairs are tried where none suffices alone."
    )
    random: int = Field(8, ge=1, le=100, description="Random edits of the same size, of each.")
    noise: float = Field(2 / 255, ge=0, le=1, description="Deviation of the noise of the guard.")
    holds: float = Field(
        0.8, gt=0, le=1, description="Share of noisy copies in which an edit must hold."
    )
    second: ModelConfig | None = Field(
        None, description="Another network, keys as of `model`: does it take the edits likewise?"
    )
    recovered: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Dice of predictions on what a learnt generator recovers of images; below it "
        "the study is refused.",
    )
    gallery: int = Field(4, ge=0, description="Images of each pair that are shown.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        192, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    @property
    def editor(self) -> Generator:
        """The generator itself."""
        made: Generator = parse("generators", self.generator)
        return made

"""Prototypes: the ways in which regions of a class are decided, and regions decided otherwise."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import one_of, technique
from conceptseg.concepts.dictionary import DictionaryFinder
from conceptseg.engine.contract import MOST, Study
from conceptseg.explain.fill import Fill

COUNTS = (1, 2, 3, 4, 6)
OVERALL = "all classes"


@technique(
    family="concept",
    source="Dreyer et al. 2024, PCX (arXiv 2311.16681); Bates et al. 2023 for the outliers",
)
class Prototypes(Study):
    """Ways of deciding: regions of a class grouped by the concepts that their relevance lies on.

    A region is a connected component of what is predicted. Its relevance is shared out to the
    concepts of a layer (its channels, or atoms of a dictionary), each region by itself, in parts
    that add up to 1 in absolute amount. On four tenths of the groups of images the regions of each
    class become a mixture of Gaussians, on their leading principal components; prototypes are the
    regions nearest to each of its means. Three tenths calibrate: of each group the least likely
    region that is right. In the last three tenths a region's p-value is its place among those
    groups: the chance that a right region of a new group is as unlikely. Outliers are those that
    pass Benjamini and Hochberg's correction over all regions.

    Departures from the publication: regions of a segmentation, not images; the number of
    prototypes is chosen on groups that the mixture was not fitted to, not given; outliers have
    p-values; and what a mixture's components leave counts as well, so that a concept that was
    never used is seen.
    """

    most_images: ClassVar[int | None] = MOST

    finder: one_of(DictionaryFinder, "concepts", "nmf") | None = Field(  # type: ignore[valid-type]
        None,
        description="Where concepts are atoms and not channels: how these are learnt (nmf, "
        "batch_topk_sae or kmeans); the first of its counts is taken.",
    )
    positions: int = Field(64, ge=4, description="Positions of each image from which atoms learn.")
    composite: Literal[
        "epsilon_plus", "epsilon_plus_flat", "plus", "gamma", "attention", "rescale"
    ] = Field("epsilon_plus", description="Rules by which relevance is shared out, as in lcrp.")
    reference: Fill = Field(
        "mean", description="What an image's changes are counted from, under rescale."
    )
    zero_bias: bool = Field(
        True, description="Whether biases are kept from taking relevance (but the last layer's)."
    )
    images: int = Field(400, ge=6, description="Images of each class that are kept, by hash.")
    per_image: int = Field(2, ge=1, description="Largest components of a class in an image.")
    min_share: float = Field(
        0.002, ge=0, lt=1, description="Components of less of the image than this are left out."
    )
    min_regions: int = Field(
        20, ge=5, description="Regions of a class, of the groups that are fitted to, at least."
    )
    right: float = Field(
        0.5, gt=0, le=1, description="Part of a region's labelled pixels that have to be right."
    )
    counts: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        COUNTS,
        min_length=1,
        description="Numbers of prototypes of a class to choose from, on groups left out; one "
        "alone is taken as it is.",
    )
    dimensions: int = Field(
        8, ge=1, le=64, description="Principal components that the mixture sees, at most."
    )
    rare: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="P-value up to which a region counts as rare, where rare ones are asked "
        "whether they are wrong.",
    )
    concepts: int = Field(4, ge=1, le=20, description="Concepts shown that set a prototype apart.")
    exemplars: int = Field(4, ge=1, le=20, description="Regions shown of each prototype.")
    outliers: int = Field(4, ge=0, le=50, description="Most unlikely regions shown of each class.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )

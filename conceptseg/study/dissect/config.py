"""Network dissection: what each unit of a layer detects, on what evidence, and what uses it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.config import ConceptMasks, Reads
from conceptseg.engine.contract import MOST, Study

SourceName = Literal[
    "classes",
    "predicted",
    "errors",
    "boundary",
    "size",
    "position",
    "colours",
    "textures",
    "context",
]
Share = Annotated[float, Field(gt=0, lt=1)]
LEAST_BLOCKS = 6
"""Groups, or images, of whose label maps there are orders enough to show one unit among many."""


@technique(
    family="concept",
    source="Bau et al. 2017 (arXiv 1704.05796), 2020; Mu & Andreas 2020; Natekar et al. 2020",
)
class Dissect(Study):
    """Which concept each unit of a layer detects, against chance, and which classes use it.

    One sweep over the images counts, for each unit, how often each of its values falls together
    with each concept; IoU at every threshold, AUROC and average precision are read off these
    counts. A unit's concept is chosen on half of the images and scored on the other, against label
    maps permuted between images. Then the units of a concept are ablated: a unit may detect what
    no class uses.

    Departures from the published method: a unit counts as active at the share of pixels, of
    several, that suits it best, since at one small share no unit can reach a large class; concepts
    are compared by IoU beyond that of independent masks; IoU is given as a share of the largest
    that the sizes allow. The published rules, with their own thresholds, are `published`.
    """

    most_images: ClassVar[int | None] = MOST

    reads: ClassVar[Reads] = "joined"

    concepts: tuple[SourceName, ...] = Field(
        ("classes", "errors", "boundary", "size", "position", "colours", "textures", "context"),
        description="Where concepts come from; none of them needs other data. `errors`: missed "
        "pixels and false alarms of each class; `context`: what the data set knows to matter.",
    )
    masks: ConceptMasks
    textures: int = Field(12, ge=2, description="Clusters of local texture.")
    quantiles: tuple[Share, ...] = Field(
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        min_length=1,
        description="Shares of pixels at which a unit counts as active; each unit has its best.",
    )
    pilot_images: int = Field(32, ge=1, description="Images that fix the bins and the textures.")
    bins: int = Field(256, ge=8, le=4096, description="Bins of each unit's values.")
    label_px: int = Field(
        128, ge=8, description="Longer side of the grid of counting, at most four times the map's."
    )
    min_images: int = Field(
        5, ge=1, description="Concepts seen in fewer images of either half are left out."
    )
    min_overlap: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="A detector's overlap above chance (0 that of independent masks, 1 that of "
        "equal ones) is at least this, on images that did not choose its concept.",
    )
    published: tuple[Literal["netdissect", "dissect", "bioexp"], ...] = Field(
        (), description="Published conventions to reproduce as well, in one more sweep."
    )
    kept_images: int = Field(
        80, ge=4, description="Images whose maps are kept for nulls, formulas and intervals."
    )
    permutations: int = Field(
        1999,
        ge=19,
        description="Permutations of label maps over images, at least; a layer of many units takes "
        "more, so that a single detector can pass the correction.",
    )
    rotations: int = Field(3, ge=0, description="Random rotations of the units' basis.")
    formula_length: int = Field(3, ge=1, le=5, description="Concepts in a formula, at most.")
    beam: int = Field(5, ge=1, description="Formulas that are kept at each length.")
    length_penalty: float = Field(
        0.97, gt=0, le=1, description="What the IoU of a formula is multiplied by, per concept."
    )
    ablate: Literal["auto", "zero", "mean"] = Field(
        "auto",
        description="What an ablated unit is set to; auto takes zero where no unit is negative, "
        "else the mean.",
    )
    ablate_units: int = Field(
        32, ge=1, description="Units that are ablated together for a concept, at most."
    )
    ablate_images: int = Field(20, ge=2, description="Images of each class for the ablations.")
    random_sets: int = Field(
        10, ge=3, description="Random sets of as many units that are ablated as well."
    )
    smallest_effect: float = Field(
        0.02, ge=0, description="Loss of IoU below which units do not count as used."
    )
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    cards: int = Field(20, ge=1, description="Units of which the report shows a card.")
    exemplars: int = Field(6, ge=1, le=1000, description="Images on a card.")
    memory_gib: float = Field(
        4.0, gt=0, description="Counts and kept maps may take this much; more is refused."
    )
    picture_px: int = Field(
        192, ge=32, le=4096, description="Longer side of the report's pictures."
    )

"""ACE: which visual concepts a layer uses for each class, how certain that is, where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import one_of, technique
from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.contract import CavLearner, ConceptFinder
from conceptseg.concepts.finders.kmeans import KMeans
from conceptseg.config import ConceptMasks, Reads, TargetConfig
from conceptseg.engine.contract import Study

if TYPE_CHECKING:
    import numpy as np

    from conceptseg.concepts.segments import Segments


Positive = Annotated[int, Field(ge=1)]


@technique(
    family="concept",
    source="Ghorbani et al. 2019; Kim et al. 2018; Janik et al. 2021 (arXiv 2103.08590)",
)
class Ace(Study):
    """Automatic concept-based explanation of a segmentation network.

    Superpixels of the images are embedded by a layer, clustered into concepts, and each concept is
    tested against each class: does the class's score move along the concept more than along random
    sets of segments, and does erasing the concept cost the class its IoU?

    Departures from the published ACE, which serves classifiers: segments are embedded in place
    (mean of the layer's activation under the segment) rather than cropped, one at a time, unless
    `embedding` asks for crops; concepts are shared by all classes; derivatives are averaged along
    paths from other images, because a network that is confident is flat there; the significance
    test is calibrated (TCAV and its published test are reported beside it); erasure measures what
    the concept is worth. Janik et al. carry the idea over to segmentation, but how they score a
    class is not published in detail, so no parity is claimed.
    """

    reads: ClassVar[Reads] = "balanced"
    asks_from_outside: ClassVar[bool] = True

    scales: Literal["auto"] | Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        "auto",
        description="SLIC segments per image, per scale; auto: 15, 50 and 80, as published, and a "
        "finer scale where a class's regions are so narrow that no such segment could follow them.",
    )
    compactness: float = Field(20.0, gt=0, description="SLIC's weight of place against colour.")
    sigma: float = Field(1.0, ge=0, le=100, description="Smoothing before SLIC, in pixels.")
    masks: ConceptMasks
    embedding: Literal["pooled", "crops"] = Field(
        "pooled",
        description="What segments are clustered by: the mean of the layer under the segment in "
        "its image, or the layer's mean when the segment is cut out, put on grey and resized to "
        "the image's size, as ACE was published: one encoder pass per segment.",
    )
    target: TargetConfig = Field(
        TargetConfig(),
        description="What is differentiated: a score of the class (its log-odds, its logit minus "
        "the mean of all logits, its logit, log-probability or probability) over a region of the "
        "image. Where concepts lie always refers to the region in which the class is predicted.",
    )
    references: int = Field(
        4,
        ge=0,
        le=1000,
        description="Other images from which paths lead to each image, for a gradient that a "
        "confident network does not hide; 0 takes the gradient at the image alone, as published.",
    )
    images_per_class: int = Field(
        200, ge=2, description="At most this many images of each class, drawn by hash."
    )
    concepts: one_of(ConceptFinder, "concepts", "kmeans") = Field(  # type: ignore[valid-type]
        KMeans(), description="How segments are grouped into concepts."
    )
    cav: one_of(CavLearner, "cavs", "pattern") = Field(  # type: ignore[valid-type]
        Pattern(), description="How a concept's direction is learnt."
    )
    segments_per_concept: int = Field(
        40, ge=5, description="Segments nearest to a cluster's centre, which represent it."
    )
    segments_per_image: int = Field(2, ge=1, description="At most this many of one image.")
    min_images: int = Field(
        10, ge=2, description="A concept or a class that fewer images hold is left out."
    )
    min_auc: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Concepts whose CAV separates worse on held-out images are dropped.",
    )
    nulls: int = Field(
        4999,
        ge=19,
        description="Random concepts that each concept is tested with, 999 at most where CAVs have "
        "to be fitted. Of 999 or more the tail tells p-values down to a hundredth of what their "
        "share could show.",
    )
    calibration: int = Field(
        300, ge=0, description="Random concepts per class by which the test itself is checked."
    )
    erase_images: int = Field(60, ge=2, description="Images of each class for the erasures.")
    null_erasures: int = Field(
        20, ge=2, description="Random directions that are erased as well, to compare with."
    )
    outside_pairs: int = Field(
        12,
        ge=0,
        description="Used concepts per class, those that cost most first, that are also erased "
        "away from its region alone: whether a use acts from context is told of these only.",
    )
    smallest_effect: float = Field(
        0.02, ge=0, description="Loss of IoU below which a concept does not count as used."
    )
    control_images: int = Field(40, ge=0, description="Images for the shuffled-weights control.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto",
        description="What intervals and tests count: the manifest's groups, or single images; auto "
        "takes groups where there are at least six, below which no use can be shown by any test.",
    )
    names: dict[int, str] = Field(
        default_factory=dict,
        description="What you call concepts that an earlier run has found, by their numbers: "
        "{1: bricks, 4: grass}. Without it a concept is called by what its images have in common.",
    )
    exemplars: int = Field(12, ge=1, le=1000, description="Segments shown for each concept.")
    map_images: int = Field(100, ge=1, description="Images whose segments the map shows.")
    map_segments: int = Field(1500, ge=10, description="Segments that the map shows.")
    picture_px: int = Field(
        256, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    @property
    def expected_segments(self) -> int:
        """About how many segments an image has, before it is known whether it needs finer ones."""
        return sum((15, 50, 80) if self.scales == "auto" else self.scales)

    def segments(self, image: np.ndarray, scales: tuple[int, ...]) -> Segments:
        """The segments of an image [c, h, w] at the scales of the run."""
        from conceptseg.concepts.segments import least_area, segment

        return segment(
            image,
            scales,
            compactness=self.compactness,
            sigma=self.sigma,
            min_area_fraction=least_area(scales),
        )

"""Bottleneck: on which images a network fails, predicted from its bottleneck without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.config import ConceptMasks
from conceptseg.engine.contract import MOST, Study

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["ridge", "neighbours", "forest", "boosting"]


@technique(
    family="quality",
    source="Janik, Sankaran & Ortiz 2019 (doi 10.2312/mlvis.20191158); Barber et al. 2021 for CV+",
)
class Bottleneck(Study):
    """Predicts how well each image is segmented, where failures lie, and how good that is.

    The bottleneck's pooled activations are regressed on each image's overlap with its labels, by
    nested cross-validation that cuts no group, and compared with predictions from the network's
    own confidence. New images get a quality with an interval, or none if they are of another kind.
    Maps and slices show where in the representation the failures lie; images that show a concept of
    the user's (`masks`), and those that do not, are slices too.

    Departures from the published work, which maps bottlenecks of buildings beside their IoU: images
    without a studied class have no overlap and are a task of their own, because a regressor that
    detects empty images looks excellent; the regressor is compared with confidence; and intervals,
    a gate for other kinds of images, corrected slices and the maps' faithfulness are added. Which
    regressor was used and how it was validated could not be read, so no parity is claimed.
    """

    most_images: ClassVar[int | None] = MOST

    quality: Literal["iou", "dice"] = Field(
        "iou",
        description="Overlap of a class in an image; an image's is the mean over its classes.",
    )
    min_share: float = Field(
        0.0005,
        ge=0,
        lt=1,
        description="A class of less of an image than this is not counted in it.",
    )
    flip: bool = Field(
        True, description="Confidence includes the agreement with the mirrored image: 1 more pass."
    )
    regressors: tuple[Kind, ...] = Field(
        ("ridge", "neighbours", "forest", "boosting"),
        min_length=1,
        description="Among which each fold chooses; ridge and neighbours have several strengths.",
    )
    components: int = Field(
        20, ge=1, description="Principal components of the layer that are kept."
    )
    folds: int = Field(5, ge=3, description="Outer folds, by group.")
    inner: int = Field(3, ge=2, description="Inner folds, by which a regressor is chosen.")
    repeats: int = Field(5, ge=1, description="Times that all of it is done with other folds.")
    deploy: Literal["layer", "confidence", "both"] = Field(
        "both", description="What the saved predictor and its intervals read."
    )
    coverage: float = Field(0.9, gt=0.5, lt=1, description="Share of images that intervals cover.")
    gate: float = Field(
        0.05, gt=0, lt=0.5, description="Share of images of the same kind that the gate rejects."
    )
    failure: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Quality below which an image fails; the worst tenth if absent.",
    )
    budget: float = Field(0.1, gt=0, lt=1, description="Share of images that can be reviewed.")
    per_class: bool = Field(True, description="Also predict each class's own overlap.")
    min_images: int = Field(
        30, ge=10, description="Fewer labelled images than this, and a class is not predicted."
    )
    shift_images: int = Field(
        24, ge=0, description="Images that are spoilt in four ways to try the gate on."
    )
    slices: int = Field(8, ge=2, description="Clusters of the layer that may be slices.")
    min_slice: int = Field(8, ge=3, description="Fewer images than this are no slice.")
    conditions: int = Field(
        3, ge=1, le=4, description="Conditions that a slice may join which is searched for."
    )
    map_seeds: int = Field(5, ge=1, le=20, description="Seeds of UMAP and t-SNE.")
    map_images: int = Field(500, ge=4, description="Images on the maps, drawn by hash.")
    masks: ConceptMasks
    unit: Literal["auto", "group", "image"] = Field(
        "auto",
        description="What intervals and tests count: the manifest's groups, or single images; auto "
        "takes groups where there are at least eight. Folds never cut a group, unless it is image "
        "and there are fewer groups than folds.",
    )
    picture_px: int = Field(
        112, ge=32, le=4096, description="Longer side of each picture's panels."
    )

    def overlap(self, shared: np.ndarray, predicted: np.ndarray, held: np.ndarray) -> np.ndarray:
        """IoU or Dice from pixel counts of any shape; nan where the labels hold no pixel."""
        import numpy as np

        if self.quality == "iou":
            value = shared / np.maximum(predicted + held - shared, 1)
        else:
            value = 2 * shared / np.maximum(predicted + held, 1)
        return np.where(held > 0, value, np.nan)

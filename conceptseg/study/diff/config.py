"""Diff: what another checkpoint does otherwise on the same images, concept by concept."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import one_of, technique
from conceptseg.concepts.dictionary import DictionaryFinder
from conceptseg.concepts.finders.nmf import Nmf
from conceptseg.config import ModelConfig
from conceptseg.engine.contract import Study

COUNTS = (8, 16, 32)


@technique(
    family="concept",
    source="relative decoder norms: crosscoders (Lindsey et al. 2024); CKA: Kornblith et al. 2019",
)
class Diff(Study):
    """Two checkpoints on the same images: predictions, units, and what classes owe to concepts.

    Both networks' layers are factorised together, position by position, so that a concept is a code
    with an atom in either network; each network's own codes are then found by its own atoms. A
    concept is erased from each network by itself, and what that costs each class is compared, image
    by image. Changes are told in units of drift: how far `seeds`, networks that were trained alike
    by other seeds, are from the network; without any, by chance over images alone.
    """

    other: ModelConfig = Field(description="The checkpoint that is compared with `model`.")
    other_layer: str | None = Field(
        None, description="Its layer, where it has another name; on a grid of the same size."
    )
    seeds: tuple[ModelConfig, ...] = Field(
        (), description="Networks trained as `model` was by other seeds: the unit of drift."
    )
    finder: one_of(DictionaryFinder, "concepts", "nmf") = Field(  # type: ignore[valid-type]
        Nmf(counts=COUNTS), description="How concepts are learnt: nmf, batch_topk_sae or kmeans."
    )
    images: int = Field(200, ge=8, description="Images that are looked at, drawn by hash.")
    positions: int = Field(64, ge=4, description="Positions of each image to learn from.")
    recovered: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Least IoU of the prediction that concepts rebuild with the network's own.",
    )
    recover_images: int = Field(40, ge=4, description="Images on which that is measured.")
    erase_images: int = Field(100, ge=8, description="Images in which concepts are erased.")
    smallest_effect: float = Field(
        0.02, ge=0, description="Change of IoU, or of a loss of IoU, below which none counts."
    )
    gallery: int = Field(4, ge=0, le=50, description="Images shown as either predicts them.")
    cards: int = Field(8, ge=1, le=100, description="Concepts that are shown.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(160, ge=32, le=4096, description="Longer side of the pictures.")

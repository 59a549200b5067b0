"""Language: words for objects that a sender and a receiver agree on, beside plain codes."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.config import Reads
from conceptseg.engine.contract import MOST, Study

CLASS = "class"
"""Attributes that every object has; all others are columns of the manifest."""


@technique(
    family="concept",
    source="Santamaria-Pang et al. 2020 (arXiv 2007.09448; our reading of its abstract); "
    "straight-through Gumbel-softmax: Jang et al. 2017",
)
class Language(Study):
    """Emergent language: messages about objects that a sender and a receiver agree on.

    A sender reads what a layer of the finished network holds of an object, and says some words of a
    small vocabulary; a receiver hears nothing else and says which class it is and draws its mask.
    Both learn on one part of the images, and are judged on the other: what the receiver gets right,
    and what the words tell of attributes that nobody named while they learnt (columns of the
    manifest, size, place). Codes of as many bits, by k-means and by product quantisation of the
    same features, stand beside it with receivers of their own: where these tell as much, the
    language is no discovery.

    Departures from the publication, in which both learn with the network: the network is finished
    and is not touched; objects, not images; and the comparison.
    """

    most_images: ClassVar[int | None] = MOST
    reads: ClassVar[Reads] = "balanced"

    words: int = Field(3, ge=1, le=8, description="Words of a message.")
    vocabulary: int = Field(8, ge=2, le=64, description="Different words that each place may take.")
    seeds: int = Field(5, ge=2, le=20, description="Languages that are learnt, each from a seed.")
    steps: int = Field(300, ge=10, description="Steps of learning, of all objects each.")
    rate: float = Field(0.02, gt=0, le=1, description="Learning rate (Adam).")
    images: int = Field(400, ge=2, description="Images of each class that are kept, by hash.")
    per_image: int = Field(3, ge=1, description="Objects of each class in an image, the largest.")
    min_share: float = Field(
        0.002, ge=0, lt=1, description="Components of less of an image than this are left out."
    )
    min_objects: int = Field(60, ge=10, description="With fewer objects there is no language.")
    grid: int = Field(12, ge=4, le=32, description="Side of the masks that the receiver draws.")
    exemplars: int = Field(5, ge=0, description="Objects shown for each word.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto",
        description="What intervals and tests count: the manifest's groups, or images; auto takes "
        "groups where at least eight judge.",
    )
    picture_px: int = Field(
        120, ge=32, le=4096, description="Longer side of the report's pictures."
    )

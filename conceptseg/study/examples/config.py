"""Examples: which real objects stand for a class, and whether unlike outcomes lie near."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from conceptseg.catalogue import technique
from conceptseg.engine.contract import MOST, Study

BLOCKS = ("embedding", "shape", "place", "surroundings")
OF_ONE_UNIT = ("embedding", "surroundings")
"""Blocks whose numbers are all activations of one layer."""
WEIGHTS = {"embedding": 2.0, "shape": 1.0, "place": 1.0, "surroundings": 1.0}
OVERALL = "all classes"


@technique(
    family="example",
    source="Heide et al. 2021 (ICIP; our reading of its abstract); MMD-critic: Kim et al. 2016",
)
class Examples(Study):
    """Prototypes and criticisms of each class's objects, and what their neighbours foretell.

    An object is a connected component of a class's region. It is described by the layer's mean
    activation over it, its shape, its place, and what surrounds it. Likeness is the weighted mean
    of a Gaussian kernel for each of the four. Prototypes are the objects whose kernel mean comes
    nearest to that of all (MMD), criticisms those that they represent worst: where all lie denser
    than prototypes say (the published rule takes what they overstate, too, and so their twins). Of
    each object the nearest ones with the same and with the other outcome are found among other
    groups; how much nearer the wrong ones are is tried as a warning of errors, beside the network's
    confidence.

    Of the publication only the abstract could be read: that similar stored objects are shown as
    prototypes and dissimilar ones as criticism. All else is ours.
    """

    most_images: ClassVar[int | None] = MOST

    regions: Literal["predicted", "labelled"] = Field(
        "predicted",
        description="Whose components are the objects: what is predicted (wrong ones are false "
        "alarms) or what is labelled (wrong ones are missed).",
    )
    images: int = Field(300, ge=2, description="Images of each class that are kept, by hash.")
    per_image: int = Field(3, ge=1, description="Largest components of a class in an image.")
    min_share: float = Field(
        0.002, ge=0, lt=1, description="Components of less of the image than this are left out."
    )
    min_objects: int = Field(20, ge=8, description="A class with fewer objects is left out.")
    right: float = Field(
        0.5, gt=0, le=1, description="Part of an object's labelled pixels that have to be right."
    )
    weights: dict[str, float] = Field(
        default_factory=lambda: dict(WEIGHTS),
        description="Weight of each of embedding, shape, place, surroundings; 0, or no mention, "
        "leaves one out.",
    )
    prototypes: int = Field(3, ge=1, le=20, description="Prototypes of each class.")
    criticisms: int = Field(3, ge=0, le=20, description="Criticisms of each class.")
    neighbours: int = Field(3, ge=1, description="Nearest objects of an outcome, averaged.")
    folds: int = Field(5, ge=2, description="Parts of the groups; each is judged by the others.")
    cases: int = Field(2, ge=0, description="Wrong objects of each class that are shown.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    @field_validator("weights")
    @classmethod
    def _known_blocks(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if name not in BLOCKS:
                raise ValueError(f"{name!r} is not among {', '.join(BLOCKS)}")
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name}: {weight} is no weight; give a number of at least 0")
        if not sum(weights.values()) > 0:
            raise ValueError("all are 0; give at least one block a weight")
        return weights

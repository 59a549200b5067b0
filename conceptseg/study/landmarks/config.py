"""Landmarks: whether attribution follows thin structures, at their ends, bends and forks."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import Choice, Method, technique
from conceptseg.engine.contract import Study

KINDS = ("end", "along", "fork", "crossing")
"""Landmarks by the number of branches that meet there: one, two, three, more."""


@technique(
    family="graph",
    source="Garret, Vacavant & Frindel 2023 (XAI-VesselNet); the anisotropy and its null are ours",
)
class Landmarks(Study):
    """What lies around landmarks of a network of vessels, poles, cracks or strokes, to the network.

    A thin region is reduced to its skeleton; where one, two, three or more branches meet, and in
    the middle of branches, there are landmarks. Each is explained alone: the class's score over a
    window around it, by a local method. How far its attribution reaches is measured by the share
    within growing distances; whether it follows the structure by its mean on the structure against
    that on the same pixels turned about it; and both are set against thickness and degree.

    Departures from the publication: any thin class in two dimensions; margins, not the sigmoid's
    values; any local method; the anisotropy with a null; and spurs are pruned.
    """

    regions: Literal["predicted", "labelled"] = Field(
        "predicted", description="Whose skeletons: those of what is predicted or what is labelled."
    )
    method: Method = Field("vanilla_saliency", description="Local method that explains a landmark.")
    images: int = Field(80, ge=2, description="Images of each class that are kept, by hash.")
    each: int = Field(2, ge=1, description="Landmarks of each kind, class and image.")
    thickest: float = Field(
        0.08,
        gt=0,
        le=1,
        description="Thickness up to which a place is thin, as a part of the image's shorter side.",
    )
    slender: float = Field(
        3.0, ge=0, description="Least length of a skeleton, in thicknesses of its region."
    )
    window_px: int = Field(2, ge=0, description="Half the side of a landmark's window, less half.")
    reach: float = Field(
        0.15,
        gt=0,
        le=0.5,
        description="How far around a landmark is looked, as a part of the image's shorter side.",
    )
    margin_px: int = Field(
        1, ge=0, description="How far beside a structure still counts as on it: borders tell it."
    )
    turns: int = Field(36, ge=8, description="Angles by which the structure is turned.")
    min_landmarks: int = Field(
        10, ge=5, description="A class, or kind of landmarks, with fewer is left out."
    )
    gallery: int = Field(2, ge=0, description="Landmarks of each class and kind that are shown.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        192, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    def local_methods(self) -> tuple[Choice, ...]:
        return self.compared_with(self.method)

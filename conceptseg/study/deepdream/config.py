"""DeepDream paths: what must change in an image for the network to call a region a class."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.engine.contract import Study


@technique(family="concept", source="Couteaux et al. 2019 (doi 10.1007/978-3-030-33850-3_7)")
class DeepDream(Study):
    """How images change on the way to another prediction, measured by named descriptors.

    From real images, gradient steps of equal length raise (or lower) the log-odds of a class in a
    fixed region until the region flips. What the path must change is what the network is sensitive
    to. Paths are taken in pixels and in the phases of the image's own waves; a finding has to show
    in both, and to exceed two null paths of the same length: a random smooth change, and the path
    of the network with its weights shuffled. Each change is set against how the classes differ in
    the data.

    Departures from the published method, whose step, number of iterations and descriptors of
    shape and texture are not all given in what could be read: the descriptors are our own choice
    of common ones, steps have equal length, and nulls, intervals and corrected p-values are added.
    """

    paths: tuple[Literal["appear", "become", "vanish"], ...] = Field(
        ("appear", "become", "vanish"),
        min_length=1,
        description="`appear`: a class is brought into a region where it is not predicted (missed "
        "pixels if there are labels, else a region borrowed from another image); `become`: the "
        "region of another class becomes the class; `vanish`: the class's region loses it.",
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        (),
        description="For `become`: pairs [from, to]; each class's strongest rival when empty.",
    )
    classes_at_most: int = Field(
        3, ge=1, description="Classes studied if data.classes names none: the most frequent."
    )
    starts: int = Field(30, ge=2, description="Images from which each path starts, by hash.")
    survey_images: int = Field(
        300, ge=2, description="Images looked at for starts and for how classes look, by hash."
    )
    references: int = Field(
        60, ge=2, le=1000, description="Images per class that show how the class looks in the data."
    )
    steps: int = Field(64, ge=1, description="Steps of a path, at most.")
    step: float = Field(
        0.005,
        gt=0,
        description="Root mean square change of a pixel per step, at most; the range is 1. Where a "
        "region flips within fewer steps than four per point, the path is taken again in smaller "
        "ones, so that it can be described.",
    )
    tv: float = Field(
        1e-3, ge=0, description="Weight of the picture's mean total variation, taken off the score."
    )
    flip: float = Field(
        0.9, gt=0, le=1, description="Share of the region that has to change its class."
    )
    points: int = Field(4, ge=1, description="Points along a path at which it is described.")
    min_region_fraction: float = Field(
        0.005, gt=0, lt=1, description="Share of the image that a region must cover."
    )
    smallest: float = Field(
        0.2, ge=0, description="Changes below this many standard deviations are no findings."
    )
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    shown: int = Field(2, ge=0, description="Starts of each path that are shown as a film strip.")
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    @property
    def least_steps(self) -> int:
        """Fewer steps to a flip, and a path is taken again in smaller ones."""
        return min(4 * self.points, self.steps // 2)

"""Audit: does a class lean on context that it should not? One verdict per class and context."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from conceptseg.catalogue import Choice, Method, technique
from conceptseg.config import ConceptMasks
from conceptseg.engine.contract import MOST, Study

Verdict = Literal[
    "confirmed",
    "behaviour only",
    "attribution only",
    "no reliance shown",
    "underpowered",
]
SHOWN: tuple[Verdict, ...] = ("confirmed", "behaviour only")
"""The verdicts that say that a class relies on a context, or on its absence."""


@technique(
    family="context",
    source="swap with placebo: ours, after Shetty et al. 2019, arXiv:1812.06707; Hoyer et al. 2019",
)
class Audit(Study):
    """Whether each class leans on each context: by swapping surroundings, with a placebo.

    An image keeps the class's region and a margin around it; all else is taken from donors, images
    of other groups. Donors that hold the context are the placebo, donors that lack it the
    treatment: both change the surroundings, bring a seam and things that do not belong there, and
    differ in the context. The effect is the class's IoU with placebo donors less that with treated
    ones, image by image: above 0 the class needs the context, below 0 its absence. Pixels of the
    class are told apart into found, taken for another class (flipped) and for the background
    (missed).

    An effect is shown where its interval, over new images and new donors, lies beyond `delta`, and
    both the images and the donors agree on it by corrected tests; it is shown to be less than
    `delta` where the interval lies within. Four further lines may support an effect and refute
    none: what the class's probability loses when its region is seen alone (as in Grid Saliency,
    with MiSuRe's context radius), what its IoU loses when its surroundings are hidden where they
    hold the context, beyond what it loses where they lack it, the share of relevance on the context
    beyond that of shuffled weights, and what becomes of the class when the context is taken out of
    the layer, beyond random things of the same make: along its direction, or by the class's
    channels that L-CRP showed to act from context.
    """

    most_images: ClassVar[int | None] = MOST

    context_classes: Literal["auto"] | tuple[str, ...] = Field(
        "auto",
        description="Classes of the masks that are contexts of the others; auto: all but the "
        "background. [] for none.",
    )
    masks: ConceptMasks
    columns: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Columns of the manifest whose values are contexts, as scanner: [A, B]; []: "
        "all its values, 12 at most. Where a value shows in an image is not known.",
    )
    found: str | None = Field(
        None,
        description="Folder of a finished ace run of the same network: concepts that lie elsewhere "
        "than a class that was shown to use them are contexts. Images that it looked at are left "
        "out, for a test of what they suggested needs others.",
    )
    found_concepts: tuple[int, ...] = Field(
        (), description="Numbers of that run's concepts, in place of those."
    )
    channels: str | None = Field(
        None,
        description="Folder of a finished lcrp run of the same network and layer: the channels "
        "that it showed to act from context, with more than half of their maps there, are set to "
        "their mean, as a further line that may support an effect. That is tried on images that "
        "it did not look at.",
    )
    known: bool = Field(
        True, description="Also the context that the data set itself knows (a planted tile)."
    )
    place: bool = Field(
        False,
        description="Also the image's borders: the same content rolled so that the class lies at "
        "each of them, and far from it; and what other padding of the convolutions does there.",
    )
    images: int = Field(
        40, ge=5, le=10_000, description="Images of each class whose surroundings are swapped."
    )
    donors: int = Field(
        8, ge=5, le=1000, description="Donors of either kind for each image and context."
    )
    min_images: int = Field(
        8, ge=5, description="Fewer images of a class that find donors, and it is left out."
    )
    margin: Literal["auto"] | Annotated[float, Field(ge=0, le=10_000)] = Field(
        "auto",
        description="Pixels around the region that stay; auto: the radius around a pixel that "
        "holds two thirds of its gradient, at most an eighth of the image's shorter side; none for "
        "a context that fills half of it.",
    )
    feather_px: float = Field(2.0, ge=0, le=100, description="Width of the seam, in pixels.")
    delta: float = Field(
        0.02, gt=0, lt=1, description="Change of IoU up to which a class does not lean on it."
    )
    min_context: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Share of an image that a class or a found concept takes "
        "where it counts as there; of what was drawn one pixel is enough.",
    )
    most_lacking: float = Field(
        0.001,
        ge=0,
        lt=1,
        description="Share of an image up to which it counts as lacking one; of "
        "what was drawn, none at all.",
    )
    min_visible: float = Field(
        0.5, gt=0, le=1, description="Part of a donor's context that the margin must not hide."
    )
    min_share: float = Field(
        0.001, ge=0, lt=1, description="A class of less of an image than this is not swapped in it."
    )
    look_images: int = Field(
        6, ge=0, description="Images of each class on which the supporting lines are made."
    )
    smallest_loss: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Probability that a class loses when its region is seen alone, from which it "
        "counts as needing its surroundings.",
    )
    smallest_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of relevance on a context, beyond that of shuffled weights, from which "
        "a class counts as looking at it.",
    )
    attribution: Method = Field(
        "deep_lift",
        description="Local method whose share on a context is compared with that of shuffled "
        "weights.",
    )
    ablate: Literal["shown", "all", "none"] = Field(
        "shown",
        description="Pairs of class and context whose direction is taken out of the layer: those "
        "whose effect is shown, all, or none.",
    )
    ablate_images: int = Field(
        12,
        ge=5,
        description="Images that hold the context on which that is tried, and that lack it.",
    )
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        192, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    def local_methods(self) -> tuple[Choice, ...]:
        return self.compared_with(self.attribution)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.most_lacking >= self.min_context:
            raise ValueError(
                f"most_lacking is {self.most_lacking:g} and min_context {self.min_context:g}: an "
                "image would both hold a context and lack it; raise min_context"
            )
        return self

"""Noise: how much of an image may be drowned, where, before a class's prediction is lost."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import Choice, Methods, technique
from conceptseg.engine.contract import Study
from conceptseg.explain.fill import Fill

OWN = "u_noise"
"""The method that is fitted here, as tables call it."""
PLAIN: tuple[Choice, ...] = ("random_map", "dilated_prediction", "centre_gaussian")
"""Maps that know nothing of the network, or its prediction alone: what is claimed beats these."""


@technique(
    family="local", source="Koker et al. 2021, arXiv:2101.05791; baselines and tests are ours"
)
class NoiseStudy(Study):
    """A noise network fitted to the frozen segmenter, and what its order of pixels is worth.

    A small U-Net learns how much noise each pixel bears while each class is predicted as before
    (U-Noise). On images that it was not fitted to, pixels are shown from the least noise on, all
    others being filled, and the Dice of the class with its clean prediction is read at each share
    that is visible; beside it the same for maps that know nothing of the network and for other
    local methods, at equal shares. Whether it beats the former at one share is tested, paired by
    image, by each fill.

    The result holds the fitted network: `u_noise: {weights: RUN}` explains with it, for the same
    segmenter alone, and the metric `trainable_noise` judges maps by it.

    Departures: the network's own prediction is kept, not the label; the noise begins at 0 and its
    levels near 0; curves are read on images apart from those of the fit, which the published ones
    are not; and random, dilated and other maps stand beside them.
    """

    images: int = Field(
        200, ge=4, description="Images of each class that are kept, by hash, to fit or to judge."
    )
    judged: int = Field(
        20,
        ge=2,
        description="Images that judge and take no part in the fit, whole groups of them; at most "
        "half of all.",
    )
    classes_at_most: int = Field(
        3, ge=1, description="Classes if data.classes names none: those predicted most often."
    )
    min_region_fraction: float = Field(
        0.002, gt=0, lt=1, description="Share of the image that a class's region must cover."
    )
    steps: int = Field(500, ge=1, description="Steps of the fit.")
    batch: int = Field(8, ge=1, le=256, description="Images of a step.")
    rate: float = Field(0.01, gt=0, le=1, description="Adam's rate, which falls to nothing.")
    low: float = Field(0.0, ge=0, lt=1, description="Least deviation of the noise, range 1.")
    high: float = Field(0.5, gt=0, le=10, description="Largest deviation of the noise, range 1.")
    price: float = Field(
        0.05,
        gt=0,
        le=1e3,
        description="What a mean log B of -1 costs beside the prediction's loss.",
    )
    smooth: float = Field(
        0.0, ge=0, le=10, description="Width in px of a bilateral filter of the levels; 0: none."
    )
    edge: float = Field(0.1, gt=0, le=1, description="Difference at which that filter stops.")
    beside: Methods = Field(
        ({"kind": "rise", "masks": 500}, {"kind": "grid_saliency", "steps": 50}),
        description="Local methods whose curves stand beside, with parameters if need be.",
    )
    fills: tuple[Fill, ...] = Field(
        ("neutral", "blur"), min_length=1, description="What pixels show that are not visible."
    )
    points: int = Field(10, ge=2, le=100, description="Shares of a curve after the first.")
    visible: float = Field(
        0.5, gt=0, lt=1, description="Share at which is tested; taken to the next of `points`."
    )
    gallery: int = Field(4, ge=0, le=20, description="Images whose maps the report shows.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(
        192, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    def local_methods(self) -> tuple[Choice, ...]:
        return self.compared_with(*self.others)

    @property
    def others(self) -> tuple[Choice, ...]:
        """The methods whose curves stand beside the fitted one's, each once."""
        every = (*PLAIN, *self.beside)
        return tuple(one for place, one in enumerate(every) if one not in every[:place])

    @property
    def at(self) -> int:
        """The point of a curve that is tested."""
        return min(max(1, round(self.visible * self.points)), self.points - 1)

"""Saliency: which local explanation of a segmentation network to believe, and how far."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from conceptseg import catalogue
from conceptseg.catalogue import Choice, Method, Methods, Metrics, technique
from conceptseg.config import TargetConfig
from conceptseg.engine.contract import Study
from conceptseg.errors import nearest


@technique(family="local", source="Hasany et al. 2024, section 3.3 and Table 1, with error bars")
class Saliency(Study):
    """Compares local saliency methods on the same images by many metrics, with error bars.

    Each method explains each case (an image and a class that is predicted in it); each metric
    judges each map. Methods are compared over the same cases, so differences are paired. Trivial
    maps (the prediction itself, edges, a Gaussian, noise) stand in the same table: a method that
    is no better than they are has not been shown to add anything to them.
    """

    compare: Methods = Field(
        (),
        description="Methods to compare: names, or mappings with `kind` and parameters; all when "
        "empty.",
    )
    metrics: Metrics = Field(
        (),
        description="Metrics, in the same form; when empty all that need no fit to the network.",
    )
    target: TargetConfig = Field(TargetConfig(), description="What is explained of a class.")
    images: int = Field(
        16, ge=2, description="Images that are explained, drawn by hash so that classes take turns."
    )
    classes_per_image: int = Field(1, ge=1, description="Classes explained in each, at most.")
    min_region_fraction: float = Field(
        0.001, gt=0, lt=1, description="Share of the image that a class's region must cover."
    )
    sanity_images: int = Field(
        5,
        ge=0,
        description="Cases on which metrics that explain again (with shuffled weights, under "
        "noise) are computed; they cost each method's passes several times. No method is said to "
        "keep its map on fewer than 5 images or groups.",
    )
    again_passes: int = Field(
        5000,
        ge=0,
        description="Passes that such a metric may ask of a method in one case: where its further "
        "maps take more, it is not computed of that method, and the result says so. 0: no bound.",
    )
    primary: str = Field(
        "deletion",
        description="Metric by which methods are compared with the prediction's mask: its name, "
        "or, where several versions of it are listed, the result's label of one (by its name the "
        "first is meant).",
    )
    insensitive: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Rank correlation with the map of the shuffled network above which a method "
        "counts as blind to what the network has learnt.",
    )
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    memory_gib: float = Field(
        4.0, gt=0, description="Bound of the maps that a method is asked for at once."
    )
    gallery: int = Field(6, ge=0, description="Cases whose maps the report shows.")
    attack_steps: int = Field(
        0,
        ge=0,
        description="Steps of an explicit attack on each method's map in the gallery's cases: "
        "noise is sought that turns the map towards itself upside down while the prediction holds; "
        "0: none. Each step takes one map of each method.",
    )
    attack_epsilon: float = Field(
        4 / 255, gt=0, le=1, description="Size of that noise, on the images' scale of [0, 1]."
    )
    brush: int = Field(
        1,
        ge=0,
        le=8,
        description="Cases of the gallery whose cells can be painted in the report, to see what "
        "speaks for the class there; a backward pass for each of 64 cells. 0: none.",
    )
    brush_method: Method = Field(
        {"kind": "vanilla_saliency", "reduce": "sum"},
        description="Method of these maps, linear in what it explains.",
    )
    picture_px: int = Field(
        192, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    @field_validator("primary")
    @classmethod
    def _known_primary(cls, name: str, info: ValidationInfo) -> str:
        known = (
            *catalogue.names("metrics"),
            *catalogue.choice_labels(info.data.get("metrics", ())),
        )
        if name not in known:
            raise ValueError(f"unknown metric {name!r}; {nearest(name, known)}")
        return name

    @property
    def brushed(self) -> int:
        """Cases that can be painted on, at most."""
        return min(self.brush, self.gallery)

    def local_methods(self) -> tuple[Choice, ...]:
        """The methods that are compared, as entries."""
        return self.compare or catalogue.names("explainers")

    def measures(self) -> tuple[Choice, ...]:
        """The metrics that are computed, as entries; the primary one is among them."""
        every = catalogue.names("metrics")
        chosen = self.metrics or tuple(
            name for name in every if not catalogue.load("metrics", name)().fitted
        )
        labels = catalogue.choice_labels(chosen)
        known = self.primary in labels or catalogue.choice_versions(labels, self.primary)
        return chosen if known else (*chosen, self.primary)

    @property
    def primary_label(self) -> str:
        """What the result calls the primary metric: of its versions the first."""
        labels = catalogue.choice_labels(self.measures())
        return [*catalogue.choice_versions(labels, self.primary), self.primary][0]

"""What each kind of technique promises. Read this first.

A folder is a contract, a file in it is one technique, and the file's name is its key in YAML:

=============  =====================  ===========================================================
folder         contract               input -> output
=============  =====================  ===========================================================
`readers`      :data:`Reader`         manifest file -> :class:`~conceptseg.data.Manifest`
`models`       :data:`Loader`         configuration -> :class:`~conceptseg.model.SegmentationModel`
`explainers`   :class:`Explainer`     image -> attribution map
`concepts`     :class:`ConceptFinder` embeddings -> directions
`cavs`         :class:`CavLearner`    embeddings of a concept and of its contrast -> one direction
`metrics`      :class:`Metric`        attribution map -> number
`stats`        :class:`Statistic`     values of samples -> something that merges
`study`        :class:`Study`         data set and network -> :class:`~conceptseg.result.Result`
=============  =====================  ===========================================================

Shape letters: n images, c input channels, k classes, h w pixels, u units (channels of a layer) on
a grid of y x positions, m rows, d features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeVar,
    runtime_checkable,
)

from pydantic import Field, field_validator

from conceptseg import catalogue
from conceptseg.choice import parse
from conceptseg.config import DataConfig, ModelConfig, RunConfig, Strict
from conceptseg.errors import nearest

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from conceptseg.data import Batch, Manifest, Sample
    from conceptseg.model import SegmentationModel
    from conceptseg.report import Report
    from conceptseg.result import Result
    from conceptseg.scene import Scene
    from conceptseg.target import Target

T = TypeVar("T", bound=type)

Reader = Callable[["Path", Mapping[str, Any], "Path | None"], "Manifest"]
"""Manifest file, its keys without `format`, and the root that overrides its own."""
Loader = Callable[[ModelConfig, Sequence[str]], "SegmentationModel"]
Score = Callable[["Tensor"], "Tensor"]
"""Logits [n, k, h, w] -> one number per image [n], its class and region already fixed."""


@dataclass(frozen=True)
class About:
    """A technique's line in the catalogue."""

    family: str
    source: str


def technique(*, family: str, source: str) -> Callable[[T], T]:
    """Put a class into the catalogue under its file's name, with its family and its source."""

    def mark(cls: T) -> T:
        cls.about = About(family, source)  # type: ignore[attr-defined]
        return cls

    return mark


@runtime_checkable
class Statistic(Protocol):
    """Something known of a set of samples that merges with the same of another set.

    Instances are immutable. `merge` is associative and commutative, `empty()` is its identity,
    and any partition of the samples gives what one pass over all of them gives.
    """

    def merge(self, other: Self) -> Self: ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays (no objects), from which `from_arrays` rebuilds the statistic exactly."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self: ...


State = dict[str, Statistic]
Carry = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What a pass may see: the network, the data, and how to run."""

    model: SegmentationModel
    manifest: Manifest
    run: RunConfig
    layer: str
    seed: int


class Pass(ABC):
    """One sweep over samples. `map` is pure; states merge key by key."""

    name: ClassVar[str]
    cost: ClassVar[str] = "1 forward per image"
    labels: ClassVar[Literal["none", "optional", "required"]] = "none"
    """Whether batches carry labels. Optional: a sample without a mask has -1 everywhere, a batch
    without any has None. Required: a sample without a mask is an error."""

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        """The samples to visit, all of the manifest's unless narrowed."""
        return context.manifest.samples

    def forwards(self, context: Context) -> float:
        """About how many network passes of one image all of it takes; for `check`'s estimate."""
        return float(len(context.manifest.samples))

    def begin(self, context: Context) -> Carry:
        """What is set going before the first image, such as a process that has to warm up."""
        return {}

    @abstractmethod
    def map(self, context: Context, batch: Batch, carry: Carry) -> State: ...

    @abstractmethod
    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        """What later passes need to know, from the merged state of all samples."""


class Study(Strict, ABC):
    """A question put to a network and a data set. Its fields are the keys of its YAML file."""

    about: ClassVar[About]
    data: DataConfig
    model: ModelConfig
    run: RunConfig = RunConfig()
    layer: str = Field("auto", description="Layer that is studied; auto takes the bottleneck.")
    seed: int = Field(0, ge=0, description="Seed of everything random.")
    compare: tuple[str | dict[str, Any], ...] = Field(
        ("seg_grad_cam", "seg_hires_grad_cam"),
        description="Local saliency methods shown beside the study's own result: names, or "
        "mappings with `kind` and the method's parameters.",
    )

    @field_validator("compare")
    @classmethod
    def _known_methods(cls, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        known = catalogue.names("explainers")
        for entry in entries:
            if not isinstance(entry, str):
                parse("explainers", entry)  # only here does a method's own file get imported
            elif entry not in known:
                raise ValueError(f"unknown explainer {entry!r}; {nearest(entry, known)}")
        return entries

    @abstractmethod
    def passes(self) -> Sequence[Pass]: ...

    @abstractmethod
    def finish(self, context: Context, carry: Carry) -> Result: ...

    @staticmethod
    @abstractmethod
    def report(result: Result) -> Report:
        """The report of a result that was just computed or loaded from disk: no model, no data."""


class Explainer(Strict, ABC):
    """A local explanation: for each image, how much each pixel matters to a score.

    The fields are the method's parameters and nothing else. Maps are signed (unless the method has
    no sign), unnormalised and of the image's size; scaling for the eye is for `thumbnails`. An
    image whose region is empty gets a map of zeros. The model's mode, hooks and parameter gradients
    are left as they were. Random draws are keyed by the method's seed alone, so a map does not
    depend on the batch that its image came in.
    """

    about: ClassVar[About]

    @property
    def classes_only(self) -> bool:
        """Whether the class's own probability or mask is read in place of the target's score.

        Such a method says nothing of a target that is no class's, such as a node's decision.
        """
        return False

    def __call__(
        self,
        model: SegmentationModel,
        images: Tensor,
        target: Target,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Images [n, c, h, w] in [0, 1] -> attributions [n, h, w], float32."""
        from conceptseg.scene import Scene

        return self.on(Scene(model, images, labels), [target])[0]

    def on(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        """Attributions [t, n, h, w] of t targets, from passes that they share where they can.

        A scene that other methods have explained already lends its passes too.
        """
        from conceptseg.explainers._base import explain

        return explain(self, scene, targets)

    @abstractmethod
    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        """The formula: attributions [t, n, h, w] or [t, n, y, x], resized by the caller."""


@dataclass(frozen=True)
class Concepts:
    """Directions in the space of embeddings and which row belongs to which.

    `centres` [q, d] and, per row, `members` [m] (-1 for none) and `distances` [m] to its concept's
    centre; `stability` [q] in [0, 1]: how surely other seeds find the same concept again;
    `choices`: the numbers of concepts that were tried, each with its score.
    """

    centres: np.ndarray
    members: np.ndarray
    distances: np.ndarray
    stability: np.ndarray
    choices: tuple[dict[str, float], ...] = ()


class ConceptFinder(Strict, ABC):
    """Finds concepts among embeddings, without labels."""

    about: ClassVar[About]

    @abstractmethod
    def fit(self, embeddings: np.ndarray, images: np.ndarray, seed: int) -> Concepts:
        """Embeddings [m, d] of segments and the image that each comes from, int [m]."""


class CavLearner(Strict, ABC):
    """Learns a concept activation vector: from the contrast towards the concept."""

    about: ClassVar[About]

    @abstractmethod
    def fit(self, embeddings: np.ndarray, is_concept: np.ndarray, seed: int) -> np.ndarray:
        """Rows [m, d] and booleans [m] -> direction [d], not normalised, float64."""


@dataclass(frozen=True)
class Trial:
    """An explanation that is to be judged: what was explained, how, and the map.

    `attributions` [n, h, w] are `explainer.on(scene, [target])[0]`. `context` [n, h, w], booleans,
    marks surroundings that are known to matter (a planted tile), where such are known.
    """

    scene: Scene
    explainer: Explainer
    target: Target
    attributions: Tensor
    context: Tensor | None = None


@dataclass(frozen=True)
class Measured:
    """One number per image, `value` [n], nan where it is undefined for an image.

    Where the number sums up a curve, `curve` [n, p] holds its values at the p points `at`.
    """

    value: Tensor
    curve: Tensor | None = None
    at: tuple[float, ...] = ()


class Metric(Strict, ABC):
    """What an attribution map is worth."""

    about: ClassVar[About]
    better: ClassVar[Literal["higher", "lower", "neither"]]
    """Which way a good map's number lies; neither where it describes rather than judges."""
    needs_context: ClassVar[bool] = False
    """Whether it can only be told where the context that matters is known."""
    explains_again: ClassVar[bool] = False
    """Whether it asks the method for further maps, which costs the method's passes each time."""

    @abstractmethod
    def measure(self, trial: Trial) -> Measured: ...

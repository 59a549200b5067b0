"""What local explanations and the metrics that judge them promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import About
from conceptseg.errors import InputError, asked_for
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import undisturbed
from conceptseg.strict import Strict

if TYPE_CHECKING:
    from conceptseg.network.model import SegmentationModel


GRADIENT = 3.0
"""Forward passes that a forward and a backward one are worth."""


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
    def own_rules(self) -> bool:
        """Whether it goes back through the network by its own rules, where a gradient may fail."""
        return False

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
        """Images [n, c, h, w] in [0, 1] -> attributions [n, h, w], float32.

        An InputError begins with the method's name.
        """
        with asked_for(self.name()):
            return self.on(Scene(model, images, labels), [target])[0]

    @classmethod
    def name(cls) -> str:
        """What the method is called in YAML: the name of its file."""
        return cls.__module__.rpartition(".")[2]

    def on(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        """Attributions [t, n, h, w] of t targets, from passes that they share where they can.

        A scene that other methods have explained already lends its passes too.
        """
        return explain(self, scene, targets)

    def check(self, scene: Scene) -> None:
        """Raise InputError where the method does not suit the network or the images' size.

        Asked before each explanation, and for the methods of a study before its first step: it
        runs nothing that an explanation in the same scene would not run anyway.
        """

    @property
    def fitted(self) -> bool:
        """Whether it needs numbers that were fitted to the network before, and refuses others."""
        return False

    def at(self, layer: str) -> Explainer:
        """The method at a layer, where it has one and names none itself."""
        if getattr(self, "layer", None) != "auto":
            return self
        return self.model_copy(update={"layer": layer})

    @property
    def layers_named(self) -> set[str]:
        """All layers that it names, "auto" among them where it leaves one open."""
        given = (getattr(self, "layer", "auto"), getattr(self, "layers", "auto"))
        return {name for one in given for name in ((one,) if isinstance(one, str) else one)}

    def passes(self, scene: Scene) -> float:
        """About how many forward passes of an image one map is worth, at most, in such a scene.

        A backward pass counts as two. By it `check` estimates what a run costs: of a method that
        says nothing, those of a gradient.
        """
        return GRADIENT

    def reduced(self, scene: Scene) -> Explainer:
        """A cheaper twin, which fails in the same scenes: by which the method is tried."""
        return self

    @abstractmethod
    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        """The formula: attributions [t, n, h, w] or [t, n, y, x], resized by the caller."""


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

    @property
    def fitted(self) -> bool:
        """Whether it needs numbers that were fitted to the network before, and refuses others."""
        return False

    @property
    def passes(self) -> int:
        """About how many forward passes of an image it takes for a map, at most, besides those of
        the maps that it asks for."""
        return 0

    @property
    def further(self) -> int:
        """How many further maps it asks the method for, at most."""
        return 0

    @property
    def explains_again(self) -> bool:
        """Whether it asks for further maps, which costs the method's passes each time."""
        return self.further > 0

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The ends of its numbers' range; None where they have none."""
        return None

    @abstractmethod
    def measure(self, trial: Trial) -> Measured: ...


def explain(explainer: Explainer, scene: Scene, targets: Sequence[Target]) -> Tensor:
    """An explainer's attributions of t targets at image size, float32 [t, n, h, w].

    Zero where a target's region is empty. Raises InputError for a target that does not suit the
    images, for more targets than there is room for, and for attributions that are not finite (a
    network whose logits are NaN).
    """
    if not len(scene) or not targets:
        return scene.images.new_zeros((len(targets), len(scene), *scene.size), dtype=torch.float32)
    name = explainer.name()
    if explainer.classes_only and not all(target.of_class for target in targets):
        raise InputError(
            f"{name} explains classes alone, and not the decision of a node; take another method, "
            "such as grad_pam or lrp"
        )
    scene.check_room(len(targets))
    with undisturbed(scene.model):
        explainer.check(scene)
        found = explainer.attribute(scene, targets)
    if not torch.stack(scene.logits.aminmax()).isfinite().all():
        raise InputError("the network's logits are not finite; does it return NaN, or overflow?")
    found = resized(found, scene.size, name)
    empty = torch.stack([scene.fix(target).empty for target in targets])
    return found.masked_fill(empty[:, :, None, None], 0.0)


def unit(maps: Tensor) -> Tensor:
    """Maps [..., h, w] brought to [0, 1] by their least and largest value; 0 where those agree."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / span.masked_fill(span == 0, torch.inf)


def resized(attributions: Tensor, size: tuple[int, int], name: str = "a method") -> Tensor:
    """Attributions [t, n, y, x] brought to an image's size (h, w), bilinearly, in float32.

    Values are interpolated, not shared out: the mean is kept, not the sum.
    """
    found = attributions.detach().float()
    if not found.isfinite().all():
        raise InputError(
            f"the attributions of {name} are not finite; does a layer of the network return NaN?"
        )
    if found.shape[2:] == size:
        return found
    return functional.interpolate(found, size=size, mode="bilinear")

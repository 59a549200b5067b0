"""What the adapted CAMs share: a base method's map of every decoder layer, scaled, averaged."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.explain.contract import Explainer, resized
from conceptseg.explain.explainers._cam import GradientCam
from conceptseg.explain.explainers._convolutions import layers_of
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.record import Recorder


class AdaptedCam(Explainer):
    """A base method's maps of many layers, each scaled to [0, 1] at image size, and their mean.

    A file of this family gives :meth:`layer_maps`, or, as an :class:`AdaptedGradientCam`, `base`.
    """

    layers: Literal["auto"] | tuple[str, ...] = Field(
        "auto",
        min_length=1,
        description="Layers to average; auto: all convolutions after the bottleneck but the last.",
    )
    relu: bool = Field(
        True,
        description="Keep of each layer only what speaks for the target, as published; else the "
        "layer's signed map, divided by its largest magnitude.",
    )
    published_target: bool = Field(
        False,
        description="Explain the paper's own score, the class's probability summed over the whole "
        "image, instead of the target's score and region.",
    )

    @abstractmethod
    def layer_maps(
        self, scene: Scene, layers: Sequence[str], scores: Sequence[FixedTarget]
    ) -> Iterator[Tensor]:
        """For one layer after the other the signed maps [t, n, y, x] of t scores."""

    def check(self, scene: Scene) -> None:
        self._averaged(scene)

    def reduced(self, scene: Scene) -> Explainer:
        """The last layer alone."""
        return self.model_copy(update={"layers": self._averaged(scene)[-1:]})

    def _averaged(self, scene: Scene) -> tuple[str, ...]:
        named = None if isinstance(self.layers, str) else self.layers
        return layers_of(scene, named, "decoder")

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        layers = self._averaged(scene)
        scores = [self.score(scene.fix(target)) for target in targets]
        total = scene.images.new_zeros((len(targets), len(scene), *scene.size))
        for maps in self.layer_maps(scene, layers, scores):
            total = total + self.scaled(resized(maps.relu() if self.relu else maps, scene.size))
        return total / len(layers)

    def score(self, fixed: FixedTarget) -> FixedTarget:
        """What is explained: the target, or the paper's own score of its class."""
        if not self.published_target:
            return fixed
        everywhere = torch.ones_like(fixed.mask)
        return replace(fixed, mask=everywhere, score="probability", reduce="sum")

    def scaled(self, maps: Tensor) -> Tensor:
        """Maps [t, n, h, w] to [0, 1] each; zeros where a map is constant."""
        low = maps.amin((2, 3), keepdim=True) if self.relu else 0.0
        moved = maps - low
        most = moved.abs().amax((2, 3), keepdim=True)
        return moved / most.where(most > 0, 1.0)


class AdaptedGradientCam(AdaptedCam):
    """Adapted CAMs whose layers' maps are a formula of activation and gradient.

    One forward pass feeds all layers, and one backward pass for each target.
    """

    @abstractmethod
    def base(self) -> GradientCam:
        """The method whose maps are averaged."""

    def layer_maps(
        self, scene: Scene, layers: Sequence[str], scores: Sequence[FixedTarget]
    ) -> Iterator[Tensor]:
        weigh = self.base().weigh
        with Recorder(scene.model, layers, gradients=True) as recorder:
            recorder(scene.images)
            activations = {key: found.detach() for key, found in recorder.activations.items()}
            weighed = []
            scene.count({"forward": len(scene), "backward": len(scene) * len(scores)})
            for score in scores:
                gradients = recorder.gradient(score)
                weighed.append([weigh(activations[key], gradients[key]) for key in layers])
        for maps in zip(*weighed, strict=True):
            yield torch.stack(maps)

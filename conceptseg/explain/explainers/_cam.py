"""The frame of the CAM family: one layer's activation, weighed by unit."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.explain.contract import Explainer
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target


class CamExplainer(Explainer):
    """Explanations made from one layer's activation A [n, u, y, x]: a weighted sum over units.

    A file of this family gives :meth:`combine`, or, as a :class:`GradientCam`, `weigh`. The forward
    pass, and the gradients of a :class:`GradientCam`, are the scene's, so that methods share them.
    """

    layer: str = Field(
        "auto", description="Layer whose units are weighed; auto: where the decision passes."
    )
    relu: bool = Field(
        True, description="Keep only what speaks for the target, as published; else signed."
    )

    @abstractmethod
    def combine(self, scene: Scene, score: FixedTarget) -> Tensor:
        """The signed map [n, y, x] on the layer's grid."""

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        # The tail comes first: its pass fixes the targets' regions as well.
        scene.tail(self.layer, graph=isinstance(self, GradientCam))
        return torch.stack([self.on_grid(scene, target) for target in targets])

    def on_grid(self, scene: Scene, target: Target) -> Tensor:
        """The map [n, y, x] before it is resized.

        The rectifier acts here, on the layer's grid, as in the papers' equations.
        """
        combined = self.combine(scene, scene.fix(target))
        return combined.relu() if self.relu else combined


class GradientCam(CamExplainer):
    """CAMs whose map is a formula of activation and gradient."""

    def combine(self, scene: Scene, score: FixedTarget) -> Tensor:
        gradient = scene.gradient(self.layer, score)
        return self.weigh(scene.tail(self.layer, graph=True).activation.detach(), gradient)

    @abstractmethod
    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """A and dT/dA, both [n, u, y, x], to a signed map [n, y, x]."""

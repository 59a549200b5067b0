"""What all local explanations share: checks, once, and the frame of the CAM family."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.contracts import Explainer
from conceptseg.errors import InputError
from conceptseg.record import undisturbed
from conceptseg.scene import Scene
from conceptseg.target import FixedTarget, Target


def explain(explainer: Explainer, scene: Scene, targets: Sequence[Target]) -> Tensor:
    """An explainer's attributions of t targets at image size, float32 [t, n, h, w].

    Zero where a target's region is empty. Raises InputError for a target that does not suit the
    images, for more targets than there is room for, and for attributions that are not finite (a
    network whose logits are NaN).
    """
    if not len(scene) or not targets:
        return scene.images.new_zeros((len(targets), len(scene), *scene.size), dtype=torch.float32)
    name = type(explainer).__module__.rpartition(".")[2]
    if explainer.classes_only and not all(target.of_class for target in targets):
        raise InputError(
            f"{name} explains classes alone, and not the decision of a node; take another method, "
            "such as grad_pam or lrp"
        )
    scene.check_room(len(targets))
    with undisturbed(scene.model):
        found = explainer.attribute(scene, targets)
    if not torch.stack(scene.logits.aminmax()).isfinite().all():
        raise InputError("the network's logits are not finite; does it return NaN, or overflow?")
    found = resized(found, scene.size, name)
    empty = torch.stack([scene.fix(target).empty for target in targets])
    return found.masked_fill(empty[:, :, None, None], 0.0)


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


class CamExplainer(Explainer):
    """Explanations made from one layer's activation A [n, u, y, x]: a weighted sum over units.

    A file of this family gives :meth:`combine`, or, as a :class:`GradientCam`, `weigh`. The forward
    pass, and the gradients of a :class:`GradientCam`, are the scene's, so that methods share them.
    """

    layer: str = Field("auto", description="Layer whose units are weighed; auto: the bottleneck.")
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

"""What all local explanations share: checks, once, and the frame of the CAM family."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.contracts import Explainer
from conceptseg.errors import InputError
from conceptseg.record import Tail, undisturbed
from conceptseg.target import FixedTarget, Target

if TYPE_CHECKING:
    from conceptseg.model import SegmentationModel


def explain(
    explainer: Explainer,
    model: SegmentationModel,
    images: Tensor,
    target: Target,
    labels: Tensor | None = None,
) -> Tensor:
    """An explainer's attributions at image size, float32 [n, h, w], after checking its input.

    Raises InputError for images that are not [n, c, h, w] of the network's channels, in [0, 1]
    and on its device, for a target that does not suit them, and for attributions that are not
    finite (a network whose logits are NaN).
    """
    check_images(model, images)
    if images.shape[0] == 0:
        return images.new_zeros((0, *images.shape[2:]), dtype=torch.float32)
    with undisturbed(model):
        attributions = explainer.attribute(model, images.detach(), target, labels)
    return finish(attributions, (images.shape[2], images.shape[3]))


def finish(attributions: Tensor, size: tuple[int, int]) -> Tensor:
    """Attributions [n, y, x] brought to an image's size (h, w), bilinearly, in float32.

    Values are interpolated, not shared out: the mean is kept, not the sum.
    """
    found = attributions.detach().float()
    if not found.isfinite().all():
        raise InputError("the attributions are not finite; does the network return NaN?")
    if found.shape[1:] == size:
        return found
    return functional.interpolate(found[:, None], size=size, mode="bilinear")[:, 0]


def check_images(model: SegmentationModel, images: Tensor) -> None:
    """Raise InputError unless images are what the network takes."""
    if images.dim() != 4 or not images.is_floating_point():
        raise InputError(
            f"images are floating point [n, c, h, w], got {images.dtype} {list(images.shape)}"
        )
    model.check_images(images)
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device != images.device:
        raise InputError(f"images are on {images.device}, the network on {parameter.device}")
    if images.numel() and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise InputError(
            f"images are in [0, 1], got {images.min():.4g} to {images.max():.4g}; the network's "
            "own scaling belongs to its preprocessing"
        )


class CamExplainer(Explainer):
    """Explanations made from one layer's activation A [n, u, y, x]: a weighted sum over units.

    A file of this family gives :meth:`combine`, or, as a :class:`GradientCam`, `weigh`. One
    forward pass; :meth:`from_tail` shares it among targets, classes and methods.
    """

    layer: str = Field("auto", description="Layer whose units are weighed; auto: the bottleneck.")
    relu: bool = Field(
        True, description="Keep only what speaks for the target, as published; else signed."
    )

    @abstractmethod
    def combine(self, tail: Tail, score: FixedTarget) -> Tensor:
        """The signed map [n, y, x] on the layer's grid."""

    def attribute(
        self, model: SegmentationModel, images: Tensor, target: Target, labels: Tensor | None
    ) -> Tensor:
        layer = model.layer_name("auto", images) if self.layer == "auto" else self.layer
        tail = Tail.of(model, images, layer, graph=isinstance(self, GradientCam))
        return self.on_grid(tail, target, labels)

    def from_tail(self, tail: Tail, target: Target, labels: Tensor | None = None) -> Tensor:
        """The explanation [n, h, w] of another target of images that have been run already.

        `tail` comes from `Tail.of(model, images, layer, graph=True)` and decides the layer. Costs
        no forward pass, only what `combine` needs: for gradient methods one backward pass of the
        part after the layer.
        """
        attributions = self.on_grid(tail, target, labels)
        return finish(attributions, (tail.images.shape[2], tail.images.shape[3]))

    def on_grid(self, tail: Tail, target: Target, labels: Tensor | None = None) -> Tensor:
        """The map [n, y, x] before it is resized; zero where the target's region is empty.

        The rectifier acts here, on the layer's grid, as in the papers' equations.
        """
        score = target.on(tail.logits, labels)
        combined = self.combine(tail, score)
        if self.relu:
            combined = combined.relu()
        return combined.masked_fill(score.empty[:, None, None], 0.0)


class GradientCam(CamExplainer):
    """CAMs whose map is a formula of activation and gradient."""

    def combine(self, tail: Tail, score: FixedTarget) -> Tensor:
        return self.weigh(tail.activation.detach(), tail.gradient(score))

    @abstractmethod
    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """A and dT/dA, both [n, u, y, x], to a signed map [n, y, x]."""

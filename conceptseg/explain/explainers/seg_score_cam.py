"""Seg-Score-CAM: a layer's units, weighed by the score of the image seen through each."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import CamExplainer
from conceptseg.explain.explainers._units import busiest, units_of
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target


@technique(family="CAM", source="Wang et al. 2020; Mullan and Sonka 2022")
class SegScoreCam(CamExplainer):
    """Sum over units of the activation times the score of the image masked by that unit.

    L = relu(sum_k w_k A_k) for a layer's activation A [u, y, x]. The mask of unit k,
    H_k = minmax(up(A_k)) in [0, 1], lets the image through where the unit is active, and
    s_k = T(f(b + H_k (x - b))) is the target of what is left over the fill b; T's region stays
    that of the clean image. The weights sum to 1: `softmax` has w = softmax_k(s); `increase` has
    w_k = relu(s_k - T(f(b))), divided by their sum (no unit counts if none raises the score). In
    units of the activation; >= 0 unless `relu` is off. No gradients: one forward pass for each
    unit that is not constant (a constant one masks nothing and weighs 0).

    The softmax depends on the target's scale: of a sum over thousands of pixels it leaves one
    unit, of a mean probability nearly equal weights; `increase` does not have this fault. A
    masked image is none that the network was trained on, and what a unit's mask keeps is taken
    for what the unit means, though the network may read the kept pixels by other units.

    Departures: the paper explains a classifier's softmax; Mullan and Sonka sum the output over
    the image, that is `Target(c, Everything(), "probability", "sum")`. The default fill is the
    paper's 0 after preprocessing. Subtracting a baseline before the softmax, as the paper does,
    changes nothing, so it is left out. With `channels` below the layer's width the map is an
    approximation from the most energetic units.

    Source: Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural
    Networks", CVPRW 2020; for segmentation Mullan and Sonka, "Visual attribution for deep
    learning segmentation in medical imaging", SPIE Medical Imaging 2022.
    """

    weights: Literal["softmax", "increase"] = Field(
        "softmax", description="Scores to weights: softmax, as published, or share of the increase."
    )
    fill: Fill = Field("neutral", description="What the image fades to where a unit is silent.")
    channels: int | None = Field(
        None,
        ge=1,
        description="Only so many units, those of largest mean square: an approximation; else all.",
    )

    def passes(self, scene: Scene) -> float:
        return 1.0 + units_of(scene, self.layer, self.channels)

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        activation = scene.tail(self.layer).activation.detach()
        found = self.maps_of(scene, activation, [scene.fix(target) for target in targets])
        return found.relu() if self.relu else found

    def combine(self, scene: Scene, score: FixedTarget) -> Tensor:
        return self.maps_of(scene, scene.tail(self.layer).activation.detach(), [score])[0]

    def maps_of(self, scene: Scene, activation: Tensor, scores: Sequence[FixedTarget]) -> Tensor:
        """Signed maps [t, n, y, x] of t scores for any layer's activation [n, u, y, x]."""
        weights = self.weights_of(scene, activation, scores)
        return torch.einsum("tnu,nuyx->tnyx", weights, activation)

    def weights_of(self, scene: Scene, activation: Tensor, scores: Sequence[FixedTarget]) -> Tensor:
        """The units' weights [t, n, u]; one forward pass of an image for each unit."""
        live = activation.amax((2, 3)) > activation.amin((2, 3))
        order, counts = busiest(activation, live, self.channels)
        weights = activation.new_zeros((len(scores), *activation.shape[:2]))
        if order.shape[1] == 0:
            return weights
        nothing = filling(scene.model, scene.images, self.fill)

        def vary(images: Tensor, start: int, stop: int) -> Tensor:
            index = order[:, start:stop, None, None].expand(-1, -1, *activation.shape[2:])
            seen = masks(activation.gather(1, index), scene.size).to(images.dtype)
            return nothing[:, None] + seen[:, :, None] * (images - nothing)[:, None]

        found = scene.scores_of(order.shape[1], vary, scores)
        if self.weights == "softmax":
            shares = found.masked_fill(~counts, -torch.inf).softmax(-1).masked_fill(~counts, 0.0)
        else:
            empty = scene.forward(nothing)
            least = torch.stack([score(empty) for score in scores])
            rise = (found - least[..., None]).relu().masked_fill(~counts, 0.0)
            total = rise.sum(-1, keepdim=True)
            shares = rise / total.where(total != 0, 1.0)
        return weights.scatter(2, order.expand(len(scores), -1, -1), shares.to(weights.dtype))


def masks(activation: Tensor, size: tuple[int, int]) -> Tensor:
    """Units [n, r, y, x] brought to an image's size, each scaled to [0, 1]."""
    wide = functional.interpolate(activation, size=size, mode="bilinear")
    low, high = wide.amin((2, 3), keepdim=True), wide.amax((2, 3), keepdim=True)
    return (wide - low) / (high - low).clamp(min=torch.finfo(wide.dtype).tiny)

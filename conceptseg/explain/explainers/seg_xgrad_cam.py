"""Seg-XGrad-CAM: a layer's units, weighed by their gradient's mean where they are active."""

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import GradientCam


@technique(family="CAM", source="Fu et al. 2020, arXiv:2008.02312")
class SegXgradCam(GradientCam):
    """Sum over units of the activation times the gradient's activation-weighted mean.

    L = relu(sum_k a_k A_k) with a_k = sum_uv (dT / dA_k,uv) A_k,uv / sum_uv A_k,uv for a layer's
    activation A [u, y, x] and a target T. Unbounded; in units of T; >= 0 unless `relu` is off. The
    signed map on the layer's grid sums to sum(dT / dA * A), as Seg-HiRes-Grad-CAM's does, which is
    T where the part after the layer is piecewise linear without biases. One forward pass and one
    backward pass of the part after the layer.

    Like Seg-Grad-CAM it lights up like features wherever they are. Meant for layers after a
    rectifier: where positive and negative activations of a unit cancel, its weight would explode.
    Units whose sum is not above `floor` times the sum of their absolute values are left out, and
    with them their share of T; after a rectifier that is none but dead units.

    Departures: the paper and other implementations have no floor but, in the latter, 1e-7 added to
    the denominator. The segmentation paper's target weighs class probabilities with the ground
    truth; here the target is the caller's, by default the mean margin over the prediction. Nothing
    is normalised.

    Source: Fu et al., "Axiom-based Grad-CAM", BMVC 2020, arXiv:2008.02312; on segmentation
    networks: Gizzini, Shukor and Ghandour 2023, arXiv:2310.01837.
    """

    floor: float = Field(
        1e-3, ge=0, lt=1, description="Least |sum| / sum of |activation| of a unit that counts."
    )

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        total = activation.sum((2, 3), keepdim=True)
        size = activation.abs().sum((2, 3), keepdim=True)
        left_out = total.abs() <= self.floor * size
        shared = (gradient * activation).sum((2, 3), keepdim=True)
        weights = torch.where(left_out, 0.0, shared / total.masked_fill(left_out, 1.0))
        return (weights * activation).sum(1)

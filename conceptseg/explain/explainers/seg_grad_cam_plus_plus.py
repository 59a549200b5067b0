"""Seg-Grad-CAM++: a layer's units, weighed by their positive gradients, spread out or not."""

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import GradientCam


@technique(family="CAM", source="Chattopadhay et al. 2018, 10.1109/WACV.2018.00097")
class SegGradCamPlusPlus(GradientCam):
    """Sum over units of the activation times a weighted sum of its positive gradients.

    L = relu(sum_k a_k A_k) with a_k = sum_uv alpha_k,uv relu(g_k,uv), g = dT / dA for a layer's
    activation A [u, y, x] and a target T, and

        alpha_k,uv = g_k,uv^2 / (2 g_k,uv^2 + (sum_ab A_k,ab) g_k,uv^3 + eps),

    the closed form of the Grad-CAM++ weights for the score exp(T). Where the gradient is zero,
    alpha is. Unbounded; >= 0 unless `relu` is off; the map is not in units of T: alpha mixes powers
    of the gradient, so a sum and a mean over the same region give maps that differ by more than a
    factor. One forward pass and one backward pass of the part after the layer.

    Meant for layers after a rectifier. Where a unit's activations sum to less than zero, the
    denominator can come near zero and turn negative, and a few positions then rule the map;
    positions where it is within 1e-6 of zero, relative to its first term, are left out.

    Departures: the published formula has no eps. Other implementations add 1e-6, which takes over
    as soon as gradients are below 1e-3, as those of a mean over thousands of pixels are; so `eps`
    is 0 here. The default target is the mean margin, the usual one of segmentation papers is
    `Target(c, score="logit", reduce="sum")`. Nothing is normalised.

    Source: Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++", WACV 2018,
    eqs. 5 and 19; on segmentation networks: Mullan and Sonka, SPIE Medical Imaging 2022.
    """

    eps: float = Field(0.0, ge=0, description="Added to alpha's denominator; elsewhere 1e-6.")

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        total = activation.sum((2, 3), keepdim=True)
        # Numerator and denominator divided by g^2, which may be too small for its type; so may
        # 1 / g be too large for it, and 0 / g is then no number.
        below = 2 + total * gradient
        if self.eps:
            below = below + self.eps / gradient / gradient
        # Asked this way round, a gradient that is NaN is not passed over.
        left_out = (gradient <= 0) | (below.abs() < 2e-6)
        weights = torch.where(left_out, 0.0, gradient / below).sum((2, 3), keepdim=True)
        return (weights * activation).sum(1)

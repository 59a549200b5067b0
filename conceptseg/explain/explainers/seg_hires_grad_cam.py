"""Seg-HiRes-Grad-CAM: a layer's units times their gradient, position by position."""

from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import GradientCam


@technique(family="CAM", source="Rheude et al. 2024, arXiv:2409.20287")
class SegHiresGradCam(GradientCam):
    """Sum over units of the activation times the target's gradient, element by element.

    L = relu(sum_k dT / dA_k * A_k) for a layer's activation A [u, y, x] and a target T.
    Unbounded; in units of T; >= 0 unless `relu` is off. Where the part after the layer is
    piecewise linear without biases, the signed map on the layer's grid sums to T. One forward
    pass and one backward pass of the part after the layer.

    Departures: the paper's target, the sum of class logits over the predicted region, is
    `Target(c, score="logit", reduce="sum")`; the default is the mean margin. Nothing is
    normalised.

    Source: Rheude et al., "Leveraging CAM Algorithms for Explaining Medical Semantic
    Segmentation", MELBA 2024:023, arXiv:2409.20287; HiResCAM: Draelos and Carin,
    arXiv:2011.08891.
    """

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(1)

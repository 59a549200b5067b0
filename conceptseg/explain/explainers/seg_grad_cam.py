"""Seg-Grad-CAM: a layer's units, weighed by their mean gradient."""

from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import GradientCam


@technique(family="CAM", source="Vinogradova et al. 2020, arXiv:2002.11434")
class SegGradCam(GradientCam):
    """Sum over units of the activation times the mean of the target's gradient over positions.

    L = relu(sum_k a_k A_k) with a_k = 1 / (y x) sum_uv dT / dA_k,uv for a layer's activation A
    [u, y, x] and a target T. Unbounded; in units of T per y x positions; >= 0 unless `relu` is
    off. One forward pass and one backward pass of the part after the layer.

    The mean forgets where in the map the region's evidence lay: a map lights up wherever like
    features are, on other objects too. Seg-HiRes-Grad-CAM does not have this fault.

    Departures: the paper's target, the sum of class logits over the predicted region, is
    `Target(c, score="logit", reduce="sum")`; the default is the mean margin. The authors' code
    resizes before the rectifier and divides by the maximum; here the rectifier acts on the
    layer's grid, as in the equation, and nothing is normalised.

    Source: Vinogradova, Dibrov and Myers, "Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping", AAAI 2020, arXiv:2002.11434.
    """

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        weights = gradient.mean((2, 3), keepdim=True)
        return (weights * activation).sum(1)

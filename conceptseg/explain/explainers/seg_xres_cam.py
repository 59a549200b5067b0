"""Seg-XRes-CAM: a layer's units times their gradient, pooled over small windows."""

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import GradientCam


@technique(family="CAM", source="Hasany et al. 2023, CVPR Workshops, pp. 3733-3738")
class SegXresCam(GradientCam):
    """Sum over units of the activation times the target's gradient, pooled over windows.

    L = relu(sum_k G_k * A_k) for a layer's activation A [u, y, x], where G_k is the gradient
    dT / dA_k of a target T with each value replaced by the mean (or the maximum) over its window of
    `window` x `window` positions; windows tile the grid from its upper left corner. Unbounded; in
    units of T; >= 0 unless `relu` is off. With windows of one position it is Seg-HiRes-Grad-CAM,
    with one window over the whole grid, and the mean, Seg-Grad-CAM: the window says how far from
    the evidence like features may light up. One forward pass and one backward pass of the part
    after the layer.

    The maximum keeps a window's largest gradient, so it forgets that others were negative: its
    maps are brighter, and show less of what speaks against the target.

    Departures: windows that the grid's edge cuts off are pooled over what is left of them, whereas
    the authors' code fills them up with zeros. That code's function pools by the maximum unless
    told otherwise, its examples by the mean over 1 or 2 positions; here it is the mean over 2.
    The paper's target, the sum of class logits over the prediction in a box, is
    `Target(c, Predicted(c) & Box(...), score="logit", reduce="sum")`; the default is the mean
    margin. Nothing is normalised.

    Source: Hasany, Petitjean and Meriaudeau, "Seg-XRes-CAM: Explaining Spatially Local Regions in
    Image Segmentation", CVPR Workshops 2023.
    """

    window: int = Field(2, ge=1, description="Side of a window, in positions of the layer's grid.")
    pool: Literal["mean", "max"] = Field("mean", description="What a window's gradients become.")

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (self.pooled(gradient) * activation).sum(1)

    def pooled(self, gradient: Tensor) -> Tensor:
        """[n, u, y, x] -> the same shape, each value its window's."""
        height, width = gradient.shape[2:]
        sides = (min(self.window, height), min(self.window, width))
        # A window that the edge cuts off is divided by what is left of it, since nothing is padded.
        pool = functional.max_pool2d if self.pool == "max" else functional.avg_pool2d
        small = pool(gradient, sides, ceil_mode=True)
        tall = small.repeat_interleave(sides[0], 2)[:, :, :height]
        return tall.repeat_interleave(sides[1], 3)[:, :, :, :width]

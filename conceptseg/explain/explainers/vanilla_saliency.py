"""Vanilla saliency: the gradient of the target at the image."""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._paths import Reduce, at_images, over_channels
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="gradient", source="Simonyan et al. 2014, arXiv:1312.6034")
class VanillaSaliency(Explainer):
    """Modulus of the target's gradient at each pixel, the largest over the image's channels.

    L = max_c |dT / dx_c| for an image x [c, h, w] in [0, 1] and a target T. Unbounded, >= 0
    (signed for `reduce: sum`); in units of T per unit of intensity. One forward pass, whose graph
    all targets share, and one backward pass per target.

    It says what a small change would do, not what the pixel has done: where the network is sure,
    its gradient may vanish though the pixel was decisive. Strides and transposed convolutions
    leave checkerboards. The largest channel does not tell which one it was.

    Departures: the paper explains a classifier's score; here it is the target of a segmentation,
    by default the mean margin over the predicted region.

    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR 2014
    workshop, arXiv:1312.6034, section 3; for segmentation, Abtahi et al. 2022.
    """

    reduce: Reduce = Field("max_abs", description="How input channels become one map.")

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return over_channels(at_images(scene, targets), self.reduce)

"""Adapted Seg-Grad-CAM: the mean of Seg-Grad-CAM's maps over all layers of the decoder."""

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._adapted import AdaptedGradientCam
from conceptseg.explain.explainers._cam import GradientCam
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam


@technique(family="CAM", source="Mullan and Sonka 2022, SPIE Medical Imaging")
class AdaptedSegGradCam(AdaptedGradientCam):
    """Mean over all decoder convolutions of Seg-Grad-CAM's map, each scaled to [0, 1].

    L = 1/m sum_l minmax(up(relu(sum_k a_lk A_lk))) over m layers l with activations A_l, the raw
    outputs of convolutions before any normalisation, and a_lk the mean of dT / dA_lk over the
    layer's positions; T is the target. In [0, 1] (in [-1, 1] with `relu` off, where a layer's
    signed map is divided by its largest magnitude instead); 0 for a layer whose map is constant.
    One forward pass and one backward pass for all layers.

    Scaling makes a layer that carries nothing but noise as loud as any other, so the map's values
    say nothing of how much a layer matters. Late layers mirror the prediction: their share of the
    map shows what was predicted rather than why.

    Departures: the paper's target, the output summed over the whole image, is had by
    `published_target`. The authors listed the decoder of one U-Net by hand, without its last
    1 x 1 convolution; here convolutions are found by running the network. The paper's sum over
    layers is a mean, as in the authors' code.

    Source: Mullan and Sonka, "Visual attribution for deep learning segmentation in medical
    imaging", SPIE Medical Imaging 2022, 12032.
    """

    def base(self) -> GradientCam:
        return SegGradCam()

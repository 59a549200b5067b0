"""Adapted Seg-Grad-CAM++: the mean of Seg-Grad-CAM++'s maps over all layers of the decoder."""

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._adapted import AdaptedGradientCam
from conceptseg.explain.explainers._cam import GradientCam
from conceptseg.explain.explainers.seg_grad_cam_plus_plus import SegGradCamPlusPlus


@technique(family="CAM", source="Mullan and Sonka 2022, SPIE Medical Imaging")
class AdaptedSegGradCamPlusPlus(AdaptedGradientCam):
    """Mean over all decoder convolutions of Seg-Grad-CAM++'s map, each scaled to [0, 1].

    L = 1/m sum_l minmax(up(relu(sum_k a_lk A_lk))) over m layers l with activations A_l, the raw
    outputs of convolutions before any normalisation, and Seg-Grad-CAM++'s weights a_lk. In [0, 1]
    (in [-1, 1] with `relu` off, where a layer's signed map is divided by its largest magnitude
    instead); 0 for a layer whose map is constant. One forward pass and one backward pass for all
    layers.

    The weights are derived for activations that are not negative, which raw outputs of
    convolutions are not: where a unit's sum is negative, a few positions can rule a layer's map,
    and scaling makes that layer as loud as any other. Naming rectified layers avoids it.

    Departures: as for Adapted Seg-Grad-CAM (the target, the choice of layers) and Seg-Grad-CAM++
    (`eps` is 0, in the authors' code 1e-6). The map depends on the scale of the target, a sum or
    a mean, as Seg-Grad-CAM++'s does.

    Source: Mullan and Sonka, "Visual attribution for deep learning segmentation in medical
    imaging", SPIE Medical Imaging 2022, 12032; Chattopadhay et al., "Grad-CAM++", WACV 2018.
    """

    eps: float = Field(
        0.0, ge=0, description="Added to alpha's denominator; 1e-6 in the authors' code."
    )

    def base(self) -> GradientCam:
        return SegGradCamPlusPlus(eps=self.eps)

"""Adapted Seg-Score-CAM: the mean of Seg-Score-CAM's maps over all layers of the decoder."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._adapted import AdaptedCam
from conceptseg.explain.explainers._units import units_of
from conceptseg.explain.explainers.seg_score_cam import SegScoreCam
from conceptseg.explain.fill import Fill
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget
from conceptseg.network.record import Recorder


@technique(family="CAM", source="Mullan and Sonka 2022, SPIE Medical Imaging")
class AdaptedSegScoreCam(AdaptedCam):
    """Mean over all decoder convolutions of Seg-Score-CAM's map, each scaled to [0, 1].

    L = 1/m sum_l minmax(up(relu(sum_k w_lk A_lk))) over m layers l with activations A_l, the raw
    outputs of convolutions before any normalisation, and Seg-Score-CAM's weights w_lk: the
    target's score of the image seen through unit k of layer l. In [0, 1] (in [-1, 1] with `relu`
    off, where a layer's signed map is divided by its largest magnitude instead). No gradients: one
    forward pass for each unit of each layer, which for a common U-Net is thousands of passes an
    image. `channels` bounds them, and the map is then an approximation.

    The faults of Seg-Score-CAM and of scaling come together: a layer that carries nothing but
    noise is as loud as any other, and the softmax depends on the target's scale. With the paper's
    own target, a sum over all pixels, it mostly leaves one unit of each layer.

    Departures: as for Adapted Seg-Grad-CAM (the target, the choice of layers) and Seg-Score-CAM
    (the fill). The authors scale units to [0, 1] before they are resized, here after, as in the
    equation of Score-CAM.

    Source: Mullan and Sonka, "Visual attribution for deep learning segmentation in medical
    imaging", SPIE Medical Imaging 2022, 12032; Wang et al., "Score-CAM", CVPRW 2020.
    """

    weights: Literal["softmax", "increase"] = Field(
        "softmax", description="Scores to weights: softmax, as published, or share of the increase."
    )
    fill: Fill = Field("neutral", description="What the image fades to where a unit is silent.")
    channels: int | None = Field(
        None,
        ge=1,
        description="Of each layer only so many units, those of largest mean square: an "
        "approximation; else all.",
    )

    def passes(self, scene: Scene) -> float:
        return 1.0 + sum(units_of(scene, name, self.channels) for name in self._averaged(scene))

    def layer_maps(
        self, scene: Scene, layers: Sequence[str], scores: Sequence[FixedTarget]
    ) -> Iterator[Tensor]:
        base = SegScoreCam(weights=self.weights, fill=self.fill, channels=self.channels)
        with torch.no_grad(), Recorder(scene.model, layers) as recorder:
            recorder(scene.images)
        scene.count({"forward": len(scene)})
        for layer in layers:
            yield base.maps_of(scene, recorder.activations[layer].detach(), scores)

"""Seg-AblationCAM: a layer's units, weighed by how far the target falls without them."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.ablation.fall import falls
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._cam import CamExplainer
from conceptseg.explain.explainers._units import units_of
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target

SMALLEST_SCORE = 1e-6


@technique(family="CAM", source="Desai and Ramaswamy 2020, WACV; Gizzini et al. 2023")
class SegAblationCam(CamExplainer):
    """Sum over units of the activation times the share of the target that is lost without it.

    L = relu(sum_k w_k A_k) with w_k = (T - T_k) / |T| for a layer's activation A [u, y, x], a
    target T and its value T_k when A_k is set to 0 and all else, skips past the layer among it,
    stays. In units of the activation; >= 0 unless `relu` is off. No gradients. One forward pass
    and a pass of the part after the layer for each of the u units, none sampled or left out; where
    the network allows it, only what a unit's absence changes in these passes is run, with the same
    result to rounding, which is checked against whole passes each time.

    Zero is "absent" only where the units are >= 0 and often 0, as after a rectifier; for others it
    is one more value. Units that stand in for each other all get a weight near 0, since none is
    missed alone. Like all weighted sums of units, a map lights up wherever like features are.

    Departures: the paper divides by T, which turns every weight round where T < 0 (possible for a
    margin or a logit): `divide_by="score"`; the default divides by |T|. Either is taken to be at
    least 1e-6, so that maps stay finite. The papers' target, the sum of class logits over the
    predicted region, is `Target(c, score="logit", reduce="sum")`; the default is the mean margin.

    Source: Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network
    via Gradient-free Localization", WACV 2020, 10.1109/WACV45572.2020.9093360; for
    segmentation Gizzini, Shukor and Ghandour 2023, arXiv:2310.01837.
    """

    divide_by: Literal["magnitude", "score", "none"] = Field(
        "magnitude",
        description="A unit's loss is divided by |T|, by T as published, or not at all.",
    )

    _units: int | None = PrivateAttr(None)

    def reduced(self, scene: Scene) -> Explainer:
        """One unit."""
        twin = self.model_copy()
        twin._units = 1
        return twin

    def combine(self, scene: Scene, score: FixedTarget) -> Tensor:
        return self._signed(scene, [score])[0]

    def passes(self, scene: Scene) -> float:
        return 1.0 + units_of(scene, self.layer, self._units)

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        # The tail comes first: its pass fixes the targets' regions as well.
        scene.tail(self.layer)
        found = self._signed(scene, [scene.fix(target) for target in targets])
        return found.relu() if self.relu else found

    def _signed(self, scene: Scene, scores: Sequence[FixedTarget]) -> Tensor:
        tail = scene.tail(self.layer)
        weights, clean = falls(tail, scores, scene.batch_size, self._units)
        if self.divide_by != "none":
            size = clean.abs().clamp(min=SMALLEST_SCORE)
            if self.divide_by == "score":
                size = torch.where(clean < 0, -size, size)
            weights = weights / size[:, :, None]
        return torch.einsum("tnu,nuyx->tnyx", weights, tail.activation.detach().to(weights.dtype))

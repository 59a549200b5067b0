"""Improved Grad-CAM: Grad-CAM of the pixels whose probability exceeds a threshold."""

from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.config import ScoreName
from conceptseg.explain.explainers._cam import GradientCam
from conceptseg.explain.regions import Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target


@technique(family="CAM", source="Xiao et al. 2021, EIECS")
class ImprovedGradCam(GradientCam):
    """Grad-CAM of the sum of a class's probability over the pixels where it exceeds a threshold.

    T = sum of p_c over M = {p_c > threshold}, M held fixed, and L = relu(sum_k a_k A_k) with
    a_k = 1 / (y x) sum_uv dT / dA_k,uv for a layer's activation A [u, y, x]. Unbounded; in units
    of T per y x positions; >= 0 unless `relu` is off. One forward pass and one backward pass of the
    part after the layer.

    The method fixes its own target. Of the target that it is asked for it takes the class, and the
    region, as a further bound on M, unless that is where the class is predicted, which is what the
    threshold stands in for; score and reduction are the fields'. An image whose own region is empty
    gets zeros as ever, though with a threshold below 1/2 some pixels may exceed it there. With two
    classes and a threshold of 1/2, M is the prediction, and the map is Seg-Grad-CAM's of
    `Target(c, score="probability", reduce="sum")`.

    The probability's gradient vanishes where the network is sure: a confident object's map is
    made by its few doubtful pixels. `score: logit` does not have this fault.

    Reproduced from the abstract, which names neither the threshold nor whether probabilities or
    logits are summed; 1/2 and probabilities are our reading. Nothing is normalised, `layer: auto`
    is where the decision passes.

    Source: Xiao et al., "A visualization method based on the Grad-CAM for medical image
    segmentation model", EIECS 2021.
    """

    threshold: float = Field(
        0.5, ge=0, lt=1, description="A pixel counts where the class's probability is above it."
    )
    score: ScoreName = Field("probability", description="What is summed over the pixels that do.")

    @property
    def classes_only(self) -> bool:
        return True

    def on_grid(self, scene: Scene, target: Target) -> Tensor:
        tail = scene.tail(self.layer, graph=True)
        gradient = tail.gradient(self.above(scene, target))
        combined = self.weigh(tail.activation.detach(), gradient)
        return combined.relu() if self.relu else combined

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.mean((2, 3), keepdim=True) * activation).sum(1)

    def above(self, scene: Scene, target: Target) -> FixedTarget:
        """The target that takes the given one's place."""
        asked = scene.fix(target)
        probability = scene.logits.softmax(1)[:, asked.class_id]
        # Asked this way round, a probability that is NaN is not passed over.
        mask = ~(probability <= self.threshold)
        if target.where != Predicted(asked.class_id):
            mask &= asked.mask
        return FixedTarget(asked.class_id, mask, self.score, "sum")

"""DeepLIFT: what each pixel's difference from a reference adds to the target's difference."""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._engines import engine_of, relevance_maps
from conceptseg.explain.fill import Fill
from conceptseg.explain.lrp.engine import Engine, Run
from conceptseg.explain.lrp.start import relevance_of_change
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target


@technique(family="propagation", source="Shrikumar et al. 2017, arXiv:1704.02685")
class DeepLift(Explainer):
    """The target's difference from a reference image, shared out layer by layer to the pixels.

    L = sum_c (x_c - b_c) m_c for an image x [c, h, w], a reference b of the same size and
    multipliers m, which are handed back through linear layers by their transpose and through what
    acts on each value y(v) by itself as (y(v) - y(v')) / (v - v') (Rescale rule), v' being the
    reference's value. Signed, in units of the target T, whose region stays that of x; the map sums
    to T(x) - T(b). One pass of images and references, and one backward for each target.

    What silences a unit that is active in the reference is shown, which gradients at the image and
    relevance of what is there cannot do. What looks like the reference gets zero, whatever it
    means to the network, so compare at least two references.

    Departures: the paper's networks have no products, norms or softmax; the rules for these (see
    :mod:`conceptseg.explain.lrp.rescale`) share out all of the difference too. The target itself,
    where it is no logit, is shared out by its mean slope on the line between both logits. Of the
    paper's rules RevealCancel is left out.

    Source: Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating
    Activation Differences", ICML 2017, arXiv:1704.02685.
    """

    reference: Fill = Field("mean", description="What stands for an image that says nothing.")

    @property
    def own_rules(self) -> bool:
        return True

    def check(self, scene: Scene) -> None:
        self._engine(scene)

    def _engine(self, scene: Scene) -> Engine:
        return engine_of(scene.model, scene.images, "rescale", reference=self.reference)

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return relevance_maps(self._engine(scene), scene, targets, _change)


def _change(run: Run, target: FixedTarget) -> Tensor:
    return relevance_of_change(run.logits, run.evidence, target)

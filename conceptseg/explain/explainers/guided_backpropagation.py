"""Guided backpropagation: the gradient at the image, its negative parts cut at every rectifier."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import GRADIENT, Explainer
from conceptseg.explain.explainers._guided import dropout_layers, dropping, guided
from conceptseg.explain.explainers._paths import Reduce, Running, at_images, over_channels
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="gradient", source="Springenberg et al. 2015, arXiv:1412.6806")
class GuidedBackpropagation(Explainer):
    """Gradient at the image where each rectifier passes back positive gradients only.

    R_in = R_out [input > 0] [R_out > 0] at every rectifier, the true gradient elsewhere, and
    L = max_c |R_c| at the image's channels c. Unbounded, >= 0 (signed for `reduce: sum`); in units
    of T per unit of intensity. One forward pass, whose graph all targets share, and one backward
    pass per target, beside the clean pass that fixes regions.

    With `samples`, dropout modules drop and the map is the mean, or the standard deviation
    (1 / samples), of the maps of that many passes: what is important, and how sure that is.

    Rectifiers are ReLU and ReLU6: modules, however often used, functions, methods, `clamp(min=0)`,
    in place or not. Activations that only dampen what is negative (leaky ReLU, PReLU, RReLU, ELU,
    SELU, CELU, SiLU, GELU, hardswish, Mish) are guided alike, R_in = f'(input) R_out [input > 0]
    [R_out > 0], for which there is no published rule; all others (sigmoid, tanh, softplus, or an
    activation written out in other operations) pass their true gradient. A network that has
    nothing to guide is refused, since its map would be that of vanilla saliency.

    It draws the edges of what the first layers see and hardly depends on the weights above them:
    such maps stay much the same when these are drawn anew (Adebayo et al. 2018, arXiv:1810.03292;
    Nie et al. 2018, arXiv:1805.07039). A map that looks like its image is no evidence here; compare
    it with the `edge_filter`'s and with that of a randomised network.

    Departures: dropout draws are the same for all images of a batch, so that maps do not depend on
    it; only dropout modules drop, not the functional form nor stochastic depth. The map is reduced
    over channels in each pass, before mean or deviation; which order, number of passes and target
    Wickstrøm et al. used could not be verified, so this is not a reproduction of theirs.

    Source: Springenberg et al., "Striving for Simplicity", ICLR 2015 workshop, arXiv:1412.6806;
    with dropout, Wickstrøm, Kampffmeyer and Jenssen 2020, 10.1016/j.media.2019.101619.
    """

    reduce: Reduce = Field("max_abs", description="How input channels become one map.")
    samples: int | None = Field(
        None, ge=2, description="Passes with dropout on; none: one pass without dropout."
    )
    statistic: Literal["mean", "std"] = Field(
        "mean", description="Of the maps of all passes with dropout: their mean or deviation."
    )
    seed: int = Field(0, ge=0, description="Seed of what dropout drops.")

    def check(self, scene: Scene) -> None:
        if self.samples is not None and not dropout_layers(scene.model):
            raise InputError(
                f"model {scene.model.name!r} has no dropout module that drops anything: leave "
                "`samples` of guided_backpropagation out"
            )

    def passes(self, scene: Scene) -> float:
        return GRADIENT * (self.samples or 1)

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        if self.samples is None:
            return self._once(scene, targets)
        # The clean pass, without dropout, comes first: it fixes the regions.
        for target in targets:
            scene.fix(target)
        maps = Running()
        for sample in range(self.samples):
            with dropping(scene.model, self.seed, sample):
                maps.add(self._once(scene, targets)[None], 0)
        return maps.mean if self.statistic == "mean" else maps.variance.sqrt()

    def _once(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        with guided(scene.model):
            return over_channels(at_images(scene, targets), self.reduce)

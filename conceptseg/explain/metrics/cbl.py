"""Context bias localisation: whether the salient surroundings are those that matter."""

from typing import ClassVar, Literal

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import StrengthMetric, share, surroundings
from conceptseg.explain.target import FixedTarget


@technique(family="context", source="Hoyer et al. 2019, arXiv:1907.13054")
class ContextBiasLocalisation(StrengthMetric):
    """Share of the map's mass outside of the region that lies on the context that matters (CBL).

    CBL = sum of S over C and B / sum of S over C, with S the map's positive part (or absolute
    values), C all pixels outside of the region and B the context that is known to matter; in
    [0, 1]. By chance it is |C and B| / |C|, about 1/2 for one tile of two. No pass. nan where the
    region is empty or the map has no mass outside of it: count these, for a method that never
    looks at the context would otherwise be judged by the few maps that do.

    It cannot tell how much context is salient at all: that is context bias detection.

    Source: Hoyer et al., "Grid Saliency for Context Explanations of Semantic Segmentation",
    NeurIPS 2019, arXiv:1907.13054, section 4.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    needs_context: ClassVar[bool] = True

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        strength = self.strength(trial.attributions)
        on_tile = strength * surroundings(self, trial, region, "context")
        outside = strength * ~region.mask
        return Measured(share(on_tile.sum((1, 2)), outside.sum((1, 2))))

"""Context bias detection: how much of the surroundings a map calls salient."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import ScaledMetric, Scaling, share
from conceptseg.explain.target import FixedTarget


@technique(family="context", source="Hoyer et al. 2019, arXiv:1907.13054")
class ContextBiasDetection(ScaledMetric):
    """Mean saliency of the surroundings, where the network is known to use them (CBD).

    CBD = sum of L over C / |C|, with L the map in [0, 1] and C all pixels outside of the region;
    in [0, 1]. No pass. nan where the region is empty or the whole image; 0 for a map of zeros.

    Higher is better only where the surroundings do matter, and the same map should score low where
    they do not: compare classes with a planted bias to others. Where on the context the saliency
    lies goes unseen: that is context bias localisation.

    Departures: Grid Saliency's map is a mask in [0, 1] (`scaling="none"`); other methods' maps are
    divided by their maximum.

    Source: Hoyer et al., "Grid Saliency for Context Explanations of Semantic Segmentation",
    NeurIPS 2019, arXiv:1907.13054, section 4.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    needs_context: ClassVar[bool] = True
    scaling: Scaling = Field(
        "max",
        description="How the map is brought to [0, 1]: by its largest value, by its least and "
        "largest, by rank, or cut off at 1 as it is.",
    )

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        outside = ~region.mask
        salient = (self.saliency(trial) * outside).sum((1, 2))
        return Measured(share(salient, outside.sum((1, 2))))

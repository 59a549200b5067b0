"""Model randomisation: whether a map changes when the network forgets what it learnt."""

from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor, nn

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import NAN, MapMetric, correlation, ranks
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, pinned
from conceptseg.network.model import SegmentationModel
from conceptseg.network.shuffle import shuffled

LEAST_PIXELS = 64
_Mark = tuple[object, ...]
_NETWORKS: WeakKeyDictionary[nn.Module, tuple[_Mark, dict[int, SegmentationModel]]] = (
    WeakKeyDictionary()
)
"""Of each network, its shuffled copies by seed, and a sign of the weights they were made from."""


@technique(family="sanity", source="Adebayo et al. 2018, arXiv:1810.03292")
class Randomisation(MapMetric):
    """Rank correlation (its modulus) of a map with that of the network with weights shuffled.

    Spearman's correlation of L and L', with L' the same method's map of the same target, on the
    region of the trained network, in a network whose weights are permuted within each tensor; its
    modulus, taken over all pixels and over those where either map is not 0, the smaller of the
    two, in the mean over `networks` such networks; in [0, 1]. Lower is better: a map that stays
    alike was not made from what was learnt, nor was one that turns into its opposite. As costly as
    one more map per network. nan where a map is constant, or other than 0 on fewer than 64 pixels
    (of a small image a quarter, if that is less); 1 where the maps are the same.

    Maps that are 0 outside of one region for both networks share their ties there, which alone
    brings the correlation over all pixels near 1; where they share nothing, those over the pixels
    in use run to -1. Hence both. It cannot tell a faithful map from noise, which scores best. Maps
    of most methods follow the image's edges, so some correlation is left.

    Departures: Adebayo et al. draw weights anew, layer by layer from the top; here all layers are
    shuffled at once, which is the end of that cascade.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv:1810.03292,
    section 3.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    sign: Literal["signed", "absolute"] = Field(
        "signed", description="Whether attributions or their absolute values are compared."
    )
    networks: int = Field(1, ge=1, description="Shuffled networks that are tried.")
    seed: int = Field(0, ge=0, description="Seed of the first network's shuffle.")

    @property
    def bounds(self) -> tuple[float, float] | None:
        return (0.0, 1.0)

    @property
    def further(self) -> int:
        return self.networks

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        scene, target = trial.scene, pinned(trial.target, region.mask)
        found = []
        for seed in range(self.seed, self.seed + self.networks):
            model = _shuffled(scene.model, seed)
            blank = Scene(model, scene.images, scene.labels, batch_size=scene.batch_size)
            other = trial.explainer.on(blank, [target])[0]
            maps = [trial.attributions.flatten(1), other.flatten(1)]
            if self.sign == "absolute":
                maps = [rows.abs() for rows in maps]
            found.append(_alike(*maps))
        return Measured(torch.stack(found).mean(0))


def _alike(first: Tensor, other: Tensor) -> Tensor:
    """The modulus of the rank correlation of maps [n, p], over all pixels or those in use, [n]."""
    found = correlation(ranks(first), ranks(other)).abs()
    least = min(LEAST_PIXELS, first.shape[1] // 4)
    for i, used in enumerate((first != 0) | (other != 0)):
        if int(used.sum()) < least:
            found[i] = NAN
        elif not torch.equal(first[i], other[i]):
            rows = [ranks(rows[i : i + 1, used]) for rows in (first, other)]
            # Constant where in use: alike there as far as can be told.
            within = correlation(*rows).abs()[0].nan_to_num(1.0)
            found[i] = torch.minimum(found[i], within)
    return found


def _shuffled(model: SegmentationModel, seed: int) -> SegmentationModel:
    """The shuffled network, made once for all images and methods as long as weights stay."""
    mark = _mark(model)
    held = _NETWORKS.get(model)
    if held is None or held[0] != mark:
        held = _NETWORKS[model] = (mark, {})
    if seed not in held[1]:
        held[1][seed] = shuffled(model, seed)
    return held[1][seed]


def _mark(model: SegmentationModel) -> _Mark:
    """Where the network is and what its tensors sum to: cheap, and other after a training step."""
    tensors = [*model.parameters(), *model.buffers()]
    if not tensors:
        return ()
    sums = torch.stack([tensor.detach().float().sum() for tensor in tensors])
    return (str(sums.device), tensors[0].dtype, *sums.tolist())

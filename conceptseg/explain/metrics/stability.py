"""Stability: how much a map changes under noise that leaves the prediction as it is."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import NAN, MapMetric
from conceptseg.explain.noise import noisy
from conceptseg.explain.target import FixedTarget, pinned
from conceptseg.network.label_map import label_map


@technique(family="robustness", source="Yeh et al. 2019, arXiv:1901.09392")
class Stability(MapMetric):
    """Largest, or mean, relative change of a map under noise that keeps the prediction.

    |L' - L| / |L| (Euclidean norms over pixels), with L' the method's map for the same pixels of
    the image plus noise, uniform in [-radius, radius] and cut off at black and white; the largest
    over `draws` draws, or their mean; >= 0, of no unit. A draw counts if at least `agreement` of
    the region's pixels keep their predicted class. The curve holds the draws one by one, nan where
    one does not count. As costly as one more map per draw. nan where the region is empty, the map
    is zero, or no draw counts.

    It cannot tell a stable map from one that does not look at the image: the region's mask scores
    0. A change may be right, where the network itself reasons differently under noise.

    Departures: Yeh et al. do not ask that the prediction stays, nor divide by |L|; without that,
    maps of different scale cannot be compared.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019,
    arXiv:1901.09392, definition 2.2 (max-sensitivity).
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    draws: int = Field(5, ge=1, description="Noisy images per image.")
    radius: float = Field(
        0.02, gt=0, le=1, description="Bound of the noise, on the images' scale of [0, 1]."
    )
    agreement: float = Field(
        0.95, ge=0, le=1, description="Share of the region whose prediction must stay."
    )
    read: Literal["max", "mean"] = Field("max", description="Which of the draws' changes counts.")
    seed: int = Field(0, ge=0, description="Seed of the noise, the same for every image.")

    @property
    def further(self) -> int:
        return self.draws

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        scene, target = trial.scene, pinned(trial.target, region.mask)
        before = label_map(scene.logits)
        changes, rows = [], list(range(len(scene.images)))
        for draw in range(self.draws):
            other = scene.beside(noisy(scene, rows, self.radius, self.seed, draw), rows)
            change = _change(trial.attributions, trial.explainer.on(other, [target])[0])
            same = ((label_map(other.logits) == before) & region.mask).sum((1, 2))
            kept = same >= self.agreement * region.pixels
            changes.append(change.masked_fill(~kept, NAN))
        curve = torch.stack(changes, 1)
        at = tuple(float(draw) for draw in range(1, self.draws + 1))
        return Measured(self._summed_up(curve), curve, at)

    def _summed_up(self, curve: Tensor) -> Tensor:
        if self.read == "mean":
            return curve.nanmean(1)
        return curve.nan_to_num(-1.0).amax(1).masked_fill(curve.isnan().all(1), NAN)


def _change(before: Tensor, after: Tensor) -> Tensor:
    """|after - before| / |before| of maps [n, h, w], [n]; nan where `before` is zero."""
    scale = before.abs().amax((1, 2), keepdim=True)
    safe = scale.where(scale > 0, torch.ones_like(scale))
    # Attributions may be so small that their squares vanish.
    moved = ((after - before) / safe).flatten(1).norm(dim=1)
    found = moved / (before / safe).flatten(1).norm(dim=1)
    return found.masked_fill(scale[:, 0, 0] == 0, NAN)

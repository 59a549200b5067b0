"""Region locality: whether the map of one object stays on it, or lights up its like as well."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import StrengthMetric, share
from conceptseg.explain.regions import UserMask
from conceptseg.explain.target import FixedTarget

CANDIDATES = 8


@technique(family="localisation", source="planted pairs; no paper")
class RegionLocality(StrengthMetric):
    """Share of the mass on two objects of a class that lies on the one that was asked for.

    The method explains each of two connected parts A and B of the region for itself; the value is
    the mean of S_A(A) / (S_A(A) + S_A(B)) and S_B(B) / (S_B(A) + S_B(B)), with S_X(Y) the mass
    over Y (positive part, or absolute values) of the map for X; in [0, 1]. 1: each map stays on
    its object. 1/2: the two maps are the same, so the method cannot tell one object from another.
    A and B are the largest two parts (pixels that share a side or a corner are connected) that are
    far enough apart. As costly as two more maps. nan where there are no two such parts, or a map
    has no mass on either. The map that is judged is not looked at, only its method.

    It cannot tell whether the second object does influence the first: a network with a wide view
    may use it, and a faithful map then falls below 1.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    min_gap: float = Field(
        0.1, ge=0, le=1, description="Least distance of the parts, as a share of the diagonal."
    )
    min_pixels: int = Field(16, ge=1, description="Least area of a part, in pixels.")

    @property
    def further(self) -> int:
        return 2

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        diagonal = float(torch.tensor(trial.scene.size).float().norm())
        masks = region.mask.cpu().numpy()
        found = [parts(mask, self.min_gap * diagonal, self.min_pixels) for mask in masks]
        pairs = torch.stack([torch.from_numpy(pair) for pair in found], 1).to(region.mask.device)
        if not pairs.any():
            return Measured(trial.attributions.new_full((len(masks),), float("nan")))
        targets = [replace(trial.target, region=UserMask(part)) for part in pairs]
        maps = self.strength(trial.explainer.on(trial.scene, targets))
        first, second = (_on_own(maps[i], pairs[i], pairs[1 - i]) for i in range(2))
        return Measured((first + second) / 2)


def _on_own(strength: Tensor, own: Tensor, other: Tensor) -> Tensor:
    inside, elsewhere = (strength * own).sum((1, 2)), (strength * other).sum((1, 2))
    return share(inside, inside + elsewhere)


def parts(mask: np.ndarray, gap_px: float, least: int) -> np.ndarray:
    """Two connected parts of a mask [h, w], booleans [2, h, w], both empty if there are no such.

    Parts have at least `least` pixels and lie at least `gap_px` apart (between the nearest pixels'
    centres). Of all pairs among the few largest parts, the first is as large as can be, then the
    second.
    """
    import numpy as np
    from scipy.ndimage import distance_transform_edt, label, minimum

    labels, _ = label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:CANDIDATES]
    large = [int(part) for part in order if sizes[part] >= least]
    for turn, first in enumerate(large[:-1]):
        others = large[turn + 1 :]
        away = minimum(distance_transform_edt(labels != first), labels, others)
        far = [part for part, distance in zip(others, away, strict=True) if distance >= gap_px]
        if far:
            return np.stack([labels == first, labels == far[0]])
    return np.zeros((2, *mask.shape), dtype=bool)

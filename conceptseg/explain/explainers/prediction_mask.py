"""The explained region itself, as a map that only repeats the prediction."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._baseline import Baseline
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="baseline", source="control; no publication")
class PredictionMask(Baseline):
    """The target's region as a map: 1 inside, 0 outside, or deeper inside is more.

    L = [pixel in M] for the region M on which the target is scored, by default where its class
    is predicted; `distance` gives each pixel of M its Euclidean distance in pixels to the nearest
    pixel centre outside, where beyond the image is outside too. >= 0; no pass of its own.

    An explanation that scores no better only traces what is known from the prediction. The flat
    map leaves the order of pixels within M open; `distance` settles it from the middle outwards.
    """

    profile: Literal["flat", "distance"] = Field(
        "flat", description="One value in the whole region, or the distance to its edge."
    )

    def map(self, scene: Scene, target: Target) -> Tensor:
        mask = scene.fix(target).mask
        if self.profile == "flat":
            return mask.float()
        return torch.stack([_depth(one.cpu()) for one in mask]).to(mask.device)


def _depth(mask: Tensor) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    edged = torch.nn.functional.pad(mask.to(torch.uint8), (1, 1, 1, 1))
    return torch.from_numpy(distance_transform_edt(edged.numpy())).float()[1:-1, 1:-1]

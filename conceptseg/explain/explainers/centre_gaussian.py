"""A bump in the middle of the image, where photographers put what matters."""

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._baseline import Baseline
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="baseline", source="control; no publication")
class CentreGaussian(Baseline):
    """A Gaussian around the image's centre, the same for all images: the map of a centre bias.

    L = exp(-((y - y0)^2 / h^2 + (x - x0)^2 / w^2) / (2 s^2)) at pixel centres of an image of
    h x w pixels with its centre at (y0, x0) and s = `width`. In (0, 1], no unit; no pass of its
    own. It shows how far a metric is won by guessing where objects lie.
    """

    width: float = Field(0.25, gt=0, le=100, description="Deviation, as a share of each side.")

    def map(self, scene: Scene, target: Target) -> Tensor:
        like = scene.images.new_empty(0, dtype=torch.float32)
        down, across = (self._profile(side).to(like) for side in scene.size)
        return torch.outer(down, across).expand(len(scene), -1, -1)

    def _profile(self, side: int) -> Tensor:
        at = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
        return (-(at**2) / (2 * self.width**2)).exp()

"""SmoothGrad: gradients averaged over noisy copies of the image."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import GRADIENT, Explainer
from conceptseg.explain.explainers._paths import (
    Make,
    Reduce,
    Running,
    gradients,
    over_channels,
    portions,
)
from conceptseg.explain.noise import channels_read, generator
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="gradient", source="Smilkov et al. 2017, arXiv:1706.03825")
class SmoothGrad(Explainer):
    """Mean of the target's gradient over copies of the image with Gaussian noise.

    g_c = 1/n sum_j dT / dx_c (x + s e_j), e_j ~ N(0, 1), for an image x [c, h, w], a target T
    whose region stays that of x, and s = `noise` (max x - min x); L = sum_c |g_c|. `squared` takes
    the mean of the squared gradients, `variance` their variance (1/n) instead. Unbounded, >= 0
    (signed for plain with `reduce: sum`); in units of T per unit of intensity, squared for the
    two others. `samples` forward passes, each with one backward pass per target, beside the
    clean pass.

    It smooths over colours, not over positions, and explains the network in a neighbourhood of
    noisy images, on which it was not trained. `squared` and `variance` light up wherever gradients
    are large, of whichever sign.

    Departures: all images share the noise, drawn sample by sample from the seed, so that a map
    does not depend on its batch. Noisy copies are not clipped to [0, 1], which would bias them.
    The authors' code squares by default and takes 25 samples; the paper's form and 50 samples
    are the default here.

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", arXiv:1706.03825;
    squared and variance: Hooker et al. 2019, arXiv:1806.10758, Adebayo et al. 2018,
    arXiv:1810.03307.
    """

    samples: int = Field(50, ge=1, description="Noisy copies of each image.")
    noise: float = Field(
        0.15, ge=0, description="Deviation of the noise, as a share of the range of `scale`."
    )
    scale: Literal["image", "channel"] = Field(
        "image",
        description="Range that noise is measured by: the image's, or each channel's own.",
    )
    kind: Literal["plain", "squared", "variance"] = Field(
        "plain", description="Mean of gradients, mean of their squares, or their variance."
    )
    reduce: Reduce = Field("sum_abs", description="How input channels become one map.")
    seed: int = Field(0, ge=0, description="Seed of the noise.")

    @model_validator(mode="after")
    def _more_than_one(self) -> Self:
        if self.kind == "variance" and self.samples == 1:
            raise ValueError("samples: the variance of one sample is zero; take more")
        return self

    def passes(self, scene: Scene) -> float:
        return GRADIENT * self.samples

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        parts = []
        for at in portions(scene):
            found = Running()
            for _, _, some in gradients(scene, targets, at, self.samples, self.copies(scene, at)):
                found.add(some, 2)
            parts.append(over_channels(self._statistic(found), self.reduce))
        return torch.cat(parts, 1)

    def copies(self, scene: Scene, at: list[int]) -> Make:
        """Noisy copies of the images `at`."""
        images, read = scene.images[at], channels_read(scene)
        dims = (1, 2, 3) if self.scale == "image" else (2, 3)
        seen = images[:, read]
        spread = seen.amax(dims, keepdim=True) - seen.amin(dims, keepdim=True)

        def make(start: int, stop: int) -> Tensor:
            drawn = torch.stack([self._noise(j, seen.shape[1:]) for j in range(start, stop)])
            noisy = images[:, None].repeat(1, stop - start, 1, 1, 1)
            noisy[:, :, read] += self.noise * spread[:, None] * drawn.to(images)
            return noisy

        return make

    def _noise(self, sample: int, shape: Sequence[int]) -> Tensor:
        """e_j [c, h, w] of one sample, in the channels that the network reads."""
        return torch.randn(tuple(shape), generator=generator(self.seed, sample))

    def _statistic(self, found: Running) -> Tensor:
        if self.kind == "plain":
            return found.mean
        if self.kind == "variance":
            return found.variance
        return found.variance + found.mean.square()

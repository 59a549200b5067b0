"""Noise, as a map that no explanation should fail to beat."""

import hashlib
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._baseline import Baseline, correlated, gaussian
from conceptseg.explain.noise import channels_read, generator
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="baseline", source="control; no publication")
class RandomMap(Baseline):
    """Seeded Gaussian noise, white or smooth: what a metric gives to a map that says nothing.

    Each pixel is N(0, 1); of the smooth kind, pixels at a distance d correlate by
    exp(-d^2 / (4 s^2)), s = `width` times the image's diagonal. No unit. No pass of its own.

    Each image and class has its own draw, keyed by the seed, the class and the image's channels
    that the network reads, in float32: the same whatever the batch, the device and the target's
    region. Equal images have equal maps.
    """

    kind: Literal["smooth", "white"] = Field(
        "smooth", description="Noise of blobs as wide as those of a coarse map, or per pixel."
    )
    width: float = Field(
        0.05, gt=0, le=0.25, description="Smoothness, as a share of the image's diagonal."
    )
    seed: int = Field(0, ge=0, description="Seed of the noise.")

    def map(self, scene: Scene, target: Target) -> Tensor:
        read = scene.images[:, channels_read(scene)].float().cpu()
        drawn = torch.stack([self._draw(image, target.class_id) for image in read])
        return drawn.to(scene.images.device)

    def _draw(self, image: Tensor, class_id: int) -> Tensor:
        content = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        height, width = image.shape[1:]
        draws = generator(self.seed, class_id, content, height, width)
        if self.kind == "white":
            return torch.randn(height, width, generator=draws)
        kernel = gaussian(self.width * (height**2 + width**2) ** 0.5)
        kernel = kernel / kernel.norm()
        # Noise beyond the borders, so that the variance is 1 up to them.
        wide = len(kernel) - 1
        noise = torch.randn(1, height + wide, width + wide, generator=draws)
        return correlated(noise, kernel, kernel)[0]

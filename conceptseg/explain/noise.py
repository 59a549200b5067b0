"""Noise on images, the same on every machine and for every image of a batch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.explain.scene import Scene


def generator(*key: object) -> torch.Generator:
    """A generator on the CPU whose draws hang on the key alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def channels_read(scene: Scene) -> list[int]:
    """The images' channels that the network takes, in its order.

    Whatever is drawn or measured on an image keeps to these, so that a channel which the network
    never sees cannot change an explanation.
    """
    picked = scene.model.preprocessing.channels
    return list(range(scene.images.shape[1])) if picked is None else list(dict.fromkeys(picked))


def noisy(scene: Scene, rows: list[int], radius: float, seed: int, draw: int) -> Tensor:
    """The scene's images `rows` with one draw of uniform noise in [-radius, radius], cut off at
    black and white: [i, c, h, w].

    All images share the draw, so that none hangs on its batch.
    """
    images, read = scene.images[rows].clone(), channels_read(scene)
    shape = (len(read), *scene.size)
    drawn = 2 * torch.rand(shape, generator=generator(seed, "uniform", draw)) - 1
    images[:, read] = (images[:, read] + radius * drawn.to(images)).clamp(0, 1)
    return images

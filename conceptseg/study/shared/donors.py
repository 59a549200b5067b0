"""Images that are given to others: read when they are asked for, at the other's size."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.engine.contract import Context


class Donors:
    """Images of the data set by their ids; the last `kept` that were asked for are in memory."""

    def __init__(self, context: Context, kept: int):
        manifest = context.manifest
        self._image = lru_cache(kept)(lambda name: manifest.image(manifest.sample(name)))

    def image(self, name: str, like: Tensor) -> Tensor:
        """[1, c, h, w], resized to the height and width of images `like` where its own differ."""
        image = torch.from_numpy(self._image(name)).to(like)[None]
        size = (like.shape[2], like.shape[3])
        if image.shape[2:] != size:
            image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
        return image

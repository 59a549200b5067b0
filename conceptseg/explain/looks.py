"""How a region looks in a few numbers: its colour and how strong its texture is, octave by octave.

Octaves are differences of the image under Gaussians of 0, 1, 2, 4 and 8 pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from conceptseg.explain.fill import blurred

SIGMAS = (1.0, 2.0, 4.0, 8.0)
"""Deviations in px that part the octaves."""
OCTAVES = ("finest", "fine", "coarse", "coarsest")
LEAST = 1e-3
"""Texture below this, of the range of 1, counts as none: smaller than a step of 8 bits."""


def octaves(image: Tensor) -> Tensor:
    """The octaves of an image [1, c, h, w], finest first: [4, c, h, w]. With the image under the
    widest Gaussian they sum to the image."""
    levels = [image, *(blurred(image, sigma) for sigma in SIGMAS)]
    return torch.cat([fine - coarse for fine, coarse in zip(levels, levels[1:], strict=False)])


def looks(image: Tensor, bands: Tensor, mask: Tensor) -> np.ndarray:
    """Mean colour [c], then log of the deviation of each octave [4] over channels, in a mask.

    `bands` are those of :func:`octaves`.
    """
    colour = image[0][:, mask].mean(1)
    strength = bands[:, :, mask].square().mean((1, 2)).sqrt().clamp(min=LEAST).log()
    return np.asarray(torch.cat((colour, strength)).double().cpu().numpy())

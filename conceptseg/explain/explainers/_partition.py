"""Images cut into cells that are hidden and shown as wholes: every pixel lies in exactly one."""

from functools import lru_cache
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.explain.explainers._coalitions import EXACT

FINER = 0.95
"""By how much of its number a partition that has too many cells is made coarser at a time."""


def hexagons(size: tuple[int, int], cells: int) -> Tensor:
    """At most `cells` regular hexagons (or 12), as many as an image's shape allows.

    The frame cuts through cells, the more of them the longer it is: so it is the hexagons' size
    that follows from the image's shape, and not their number. Up to 12 there are as many as fall
    out, since all their coalitions are played. int64 [h, w], see :func:`tiling`.
    """
    return _hexagons(size, cells).clone()


@lru_cache(maxsize=16)
def _hexagons(size: tuple[int, int], cells: int) -> Tensor:
    wanted = float(cells)
    while int((found := tiling(size, wanted)).max()) + 1 > max(cells, EXACT):
        wanted *= FINER
    return found


def tiling(size: tuple[int, int], cells: float) -> Tensor:
    """Regular hexagons of 1 / `cells` of the image's area: the cell of each pixel, int64 [h, w].

    A pixel belongs to the nearest hexagon's centre. Centres lie pitch apart in rows that are
    sqrt(3) / 2 pitch apart, every other row shifted by half a pitch, one of them in the middle of
    the image. Cells are numbered row by row from 0 without gaps; those along the frame are cut by
    it, so there are somewhat more than `cells`.
    """
    h, w = size
    pitch = sqrt(2 * h * w / (sqrt(3) * cells))
    y = (torch.arange(h, dtype=torch.float64) + 0.5 - h / 2)[:, None] / (pitch * sqrt(3) / 2)
    x = (torch.arange(w, dtype=torch.float64) + 0.5 - w / 2)[None] / pitch
    # A hexagon reaches 0.58 pitch up and down, less than the rows' distance of 0.87: the nearest
    # centre lies in one of the two rows that a pixel is between.
    above, below = (_nearest_of_row(row, y, x) for row in (y.floor(), y.floor() + 1))
    closer = (below[2] < above[2])[..., None]
    centres = torch.where(closer, torch.stack(below[:2], -1), torch.stack(above[:2], -1))
    _, labels = torch.unique(centres.flatten(0, 1), dim=0, return_inverse=True)
    return labels.reshape(h, w)


def _nearest_of_row(row: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest centre of each pixel in a row of them: row, column and squared distance."""
    shift = (row % 2) / 2
    column = (x - shift).round()
    distance = (column + shift - x) ** 2 + 0.75 * (row - y) ** 2
    return row.expand_as(column), column, distance


def superpixels(image: np.ndarray, cells: int) -> Tensor:
    """At most `cells` SLIC superpixels of an image [c, h, w] in [0, 1], int64 [h, w].

    Pixels of segments below 0.1 % of the image fall to the nearest larger one. Raises InputError
    where no segment is larger than that.
    """
    from scipy.ndimage import distance_transform_edt

    from conceptseg.concepts.segments import segment

    wanted = float(cells)
    while (labels := segment(image, (max(1, round(wanted)),)).maps[0]).max() >= cells > 1:
        wanted *= FINER
    if labels.max() < 0:
        raise InputError(
            f"{cells} superpixels are too many for an image of {labels.shape[0]} x "
            f"{labels.shape[1]} pixels: each is below 0.1 % of it; take fewer cells"
        )
    if labels.min() < 0:
        nearest = distance_transform_edt(labels < 0, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    return torch.from_numpy(labels.astype("int64"))

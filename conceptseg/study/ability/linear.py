"""How well a layer tells classes apart, by maps that are linear in its features.

With features X brought bilinearly to the image's grid and a prototype mu_c for each class, a pixel
goes to the class of smallest ||X - mu_c||^2, that is of largest X . mu_c - ||mu_c||^2 / 2. This is
linear in X, and so is the resizing. So k maps are resized in place of the layer's units, and sums
over the image's grid are taken on the layer's own: sum_i w_i X_i = sum_j X_j (U^T w)_j, where U^T
is the adjoint of the resizing. Both are exact.

Source: He et al. 2023, "Segmentation ability map" (ProtoSeg), arXiv 2212.09206, section 3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.network.label_map import label_map


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [n, k, y, x] on another grid, bilinearly, corners not aligned."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, list(size), mode="bilinear", align_corners=False)


def adjoint(weights: Tensor, grid: tuple[int, int]) -> Tensor:
    """U^T of weights [n, k, h, w]: what each position of a grid (y, x) gives to them, [n, k, y, x].

    For any map X on the grid: sum(resized(X) * weights) = sum(X * adjoint(weights)).
    """
    if tuple(weights.shape[2:]) == tuple(grid):
        return weights
    with torch.inference_mode(False), torch.enable_grad():
        kept = weights.detach().clone()
        empty = kept.new_zeros((*kept.shape[:2], *grid), requires_grad=True)
        (found,) = torch.autograd.grad(resized(empty, (kept.shape[2], kept.shape[3])), empty, kept)
    return found


def weighted_sums(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """sum X w [n, k, u] and sum w [n, k], of features [n, u, y, x] and weights [n, k, h, w].

    X is taken on the weights' grid.
    """
    spread = adjoint(weights, (features.shape[2], features.shape[3]))
    sums = torch.einsum("nuyx,nkyx->nku", features, spread)
    return sums, weights.sum((2, 3))


def nearest(
    features: Tensor, prototypes: Tensor, scale: Tensor | None, size: Sequence[int]
) -> Tensor:
    """The class of nearest prototype at each pixel, int64 [n, h, w].

    Prototypes [n, k, u] of each image; `scale` [u] or [n, u] divides each unit first (its standard
    deviation, so that loud units do not rule). A class whose prototype is not finite is never
    chosen; of equal distances the lower class wins.
    """
    by = 1.0 if scale is None else scale[..., None, :]
    mu = prototypes / by
    known = torch.isfinite(mu).all(2)
    offset = torch.where(known, -0.5 * (mu**2).sum(2), -torch.inf)
    return assigned(features, torch.where(known[..., None], mu / by, 0.0), offset, size)


def nearest_of_each(
    features: Tensor, prototypes: Tensor, scale: Tensor, size: Sequence[int]
) -> Tensor:
    """:func:`nearest` by several sets of prototypes [n, b, k, u] with scales [n, b, u], int64
    [n, b, h, w]."""
    n, b, k, _ = prototypes.shape
    mu = prototypes / scale[:, :, None]
    known = torch.isfinite(mu).all(3)
    offset = torch.where(known, -0.5 * (mu**2).sum(3), -torch.inf)
    rows = torch.where(known[..., None], mu / scale[:, :, None], 0.0).flatten(1, 2)
    maps = resized(torch.einsum("nku,nuyx->nkyx", rows, features), size)
    return label_map(maps.view(n, b, k, *size) + offset[..., None, None])


def assigned(features: Tensor, direction: Tensor, offset: Tensor, size: Sequence[int]) -> Tensor:
    """Class of largest X . direction + offset at each pixel, int64 [n, h, w].

    Directions [n, k, u] and offsets [n, k]; -inf bars a class.
    """
    maps = torch.einsum("nku,nuyx->nkyx", direction, features)
    return label_map(resized(maps, size) + offset[:, :, None, None])


def means(sums: Tensor, mass: Tensor) -> Tensor:
    """Prototypes [..., k, u] of weighted sums and masses; nan for a class without any weight."""
    return sums / torch.where(mass > 0, mass, torch.nan)[..., None]


def positions(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """What a pixel's place alone tells: x, y, x^2, y^2 and x y in [-1, 1], [n, 5, y, x]."""
    rows = torch.linspace(-1, 1, grid[0], device=images.device)
    columns = torch.linspace(-1, 1, grid[1], device=images.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y, x * x, y * y, x * y])[None].expand(len(images), -1, -1, -1)


def dice(iou: Tensor) -> Tensor:
    """Dice of an intersection over union: 2 J / (1 + J)."""
    return 2 * iou / (1 + iou)

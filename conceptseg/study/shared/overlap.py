"""Overlap of a prediction with a reference, per image and class, and which classes count there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def class_iou(prediction: Tensor, reference: Tensor, classes: int) -> Tensor:
    """Intersection over union of each class in each image, float32 [n, classes].

    Both maps are int [n, h, w]; pixels whose reference is outside 0..classes-1 (ignored ones) do
    not count. nan for a class that the reference lacks, whatever is predicted: so the same images
    count for every prediction that is compared on one reference.
    """
    import torch

    n = len(prediction)
    known = (reference >= 0) & (reference < classes)
    image = torch.arange(n, device=prediction.device)[:, None, None].expand_as(prediction)
    cells = (image * classes + reference) * classes + prediction
    counts = torch.bincount(cells[known], minlength=n * classes * classes)
    # Not every device has float64 (MPS); the counts are few.
    confusion = counts.reshape(n, classes, classes).cpu().double()
    shared = confusion.diagonal(dim1=1, dim2=2)
    union = confusion.sum(1) + confusion.sum(2) - shared
    iou = shared / union.clamp(min=1)
    held = confusion.sum(2) > 0
    return torch.where(held, iou, torch.full_like(iou, float("nan"))).float().to(prediction.device)


def without_small(labels: Tensor, classes: int, min_share: float) -> Tensor:
    """Labels [n, h, w] with -1 where they are ignored or of a class of too small a share.

    That is a class of at most `min_share` of the known pixels of its image.
    """
    import torch

    known = (labels >= 0) & (labels < classes)
    safe = labels.clamp(0, classes - 1)
    pixels = torch.stack([(known & (safe == c)).flatten(1).sum(1) for c in range(classes)], 1)
    small = pixels <= min_share * pixels.sum(1, keepdim=True)
    dropped = small.gather(1, safe.flatten(1)).reshape(labels.shape)
    return torch.where(known & ~dropped, labels, torch.full_like(labels, -1))

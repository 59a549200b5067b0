"""How well predictions agree with masks, and whether they would agree better otherwise read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FLIPS = {
    "turned upside down": (1,),
    "mirrored": (2,),
    "turned by 180 degrees": (1, 2),
}
MOST_SHIFT = 0.25
"""Shifts up to this share of a side are looked for."""


@dataclass(frozen=True)
class Agreement:
    """IoU of each class, nan where neither has it; `mean` is that over the classes of the masks."""

    iou: np.ndarray
    mean: float


@dataclass(frozen=True)
class Reading:
    """The agreement if masks are read in another way, in words: "turned upside down"."""

    words: str
    mean: float


def confusions(prediction: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Pixels by label and predicted class, of each image: int64 [n, k, k] in the CPU's memory.

    Both maps are int [n, h, w]; pixels whose label is outside 0..classes-1 (ignored ones) are left
    out.
    """
    n, cells = len(prediction), len(prediction) * classes * classes
    known = (labels >= 0) & (labels < classes)
    image = torch.arange(n, device=prediction.device)[:, None, None]
    cell = (image * classes + labels) * classes + prediction
    # One more cell for what is left out: taking the others from the maps costs more than counting.
    counts = torch.bincount(torch.where(known, cell, cells).flatten(), minlength=cells + 1)[:-1]
    return counts.reshape(n, classes, classes).cpu()


def confusion(prediction: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """Those of all images together: int64 [k, k]."""
    return np.asarray(confusions(prediction, labels, classes).sum(0))


def agreement(counts: np.ndarray) -> Agreement:
    """From pixels by label and prediction [k, k]: IoU = both / either, class by class."""
    both = np.diag(counts).astype(float)
    either = counts.sum(0) + counts.sum(1) - both
    iou = np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)
    held = counts.sum(1) > 0
    return Agreement(iou, float(iou[held].mean()) if held.any() else float("nan"))


def renamed(counts: np.ndarray) -> tuple[Agreement, list[int]]:
    """The best agreement over all ways to give the masks' classes to the network's, one to one.

    Returns it and, for each class of the masks, the output that shows it. The assignment is that
    of the largest sum of IoU (Kuhn 1955, the Hungarian method).
    """
    either = counts.sum(0)[None] + counts.sum(1)[:, None] - counts
    iou = np.divide(counts, either, out=np.zeros(counts.shape), where=either > 0)
    held = counts.sum(1) > 0
    found, order = assigned(iou * held[:, None])
    values = np.where(held, found, np.nan)
    return Agreement(values, float(np.nanmean(values))), order


def crossed(predictions: Sequence[Tensor], labels: Sequence[Tensor]) -> np.ndarray:
    """IoU [k, k] of each independent class of the masks with each of the network.

    Predictions are bool [n, h, w] of each class; labels 1 where the class is, -1 where ignored.
    """
    counts = list[Tensor]()  # these leave the device together
    for mask in labels:
        own, kept = mask == 1, mask >= 0
        for predicted in predictions:
            counts += [(predicted & own).sum(), ((predicted | own) & kept).sum()]
    both, either = torch.stack(counts).cpu().numpy().reshape(len(labels), -1, 2).transpose(2, 0, 1)
    return np.asarray(both / np.maximum(either, 1))


def assigned(iou: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Of IoU [k, k] of masks' classes with the network's: the values [k] of the best assignment,
    one to one, and the network's class for each of the masks'.

    Of assignments that are as good it is the one that changes least.
    """
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(-iou - 1e-9 * np.eye(len(iou)))
    return iou[np.arange(len(iou)), order], [int(place) for place in order]


def displaced(prediction: Tensor, labels: Tensor, classes: int) -> Iterator[Reading]:
    """Agreement [n, h, w] with the masks flipped, turned, and at their best shift."""
    for words, axes in FLIPS.items():
        yield Reading(words, agreement(confusion(prediction, labels.flip(axes), classes)).mean)
    if labels.shape[1] == labels.shape[2]:
        turned = labels.transpose(1, 2)
        yield Reading("transposed", agreement(confusion(prediction, turned, classes)).mean)
    down, right = best_shift(prediction, labels, classes)
    if (down, right) != (0, 0):
        moved = _shifted(labels, down, right)
        yield Reading(
            f"shifted by {down:+d} px down and {right:+d} px right",
            agreement(confusion(prediction, moved, classes)).mean,
        )


def best_shift(prediction: Tensor, labels: Tensor, classes: int) -> tuple[int, int]:
    """The shift of the masks, px down and right, with which most pixels agree with the prediction.

    By cross-correlation of the classes' maps, each less its mean, up to a quarter of a side.
    """
    total = torch.zeros(labels.shape[1:], device=labels.device)
    both = set(prediction.unique().tolist()) & set(labels.unique().tolist())
    for c in sorted(both & set(range(classes))):
        ours, theirs = (prediction == c).float(), (labels == c).float()
        ours, theirs = (one - one.mean((1, 2), keepdim=True) for one in (ours, theirs))
        product = torch.fft.rfft2(ours) * torch.fft.rfft2(theirs).conj()
        total += torch.fft.irfft2(product, s=labels.shape[1:]).sum(0)
    h, w = total.shape
    rows, columns = (torch.arange(n, device=total.device) for n in (h, w))
    near = [torch.minimum(r, n - r) <= MOST_SHIFT * n for r, n in ((rows, h), (columns, w))]
    allowed = near[0][:, None] & near[1]
    place = int(total.masked_fill(~allowed, -torch.inf).argmax())
    down, right = divmod(place, w)
    return down - h * (down > h // 2), right - w * (right > w // 2)


def _shifted(labels: Tensor, down: int, right: int) -> Tensor:
    """Masks moved; what comes in from outside is ignored."""
    moved = labels.roll((down, right), (1, 2)).clone()
    rows = slice(0, down) if down >= 0 else slice(down, None)
    columns = slice(0, right) if right >= 0 else slice(right, None)
    moved[:, rows] = -1
    moved[:, :, columns] = -1
    return moved

"""Overlap of a prediction with a reference, per image and class, and which classes count there."""

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.agreement import confusions


def referred(labels: Tensor | None, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """What predictions are compared with, int64 [n, h, w]: the labels, and the network's own
    `prediction` for images of which no pixel is labelled; and which are labelled, bool [n]."""
    if labels is None:
        return prediction, torch.zeros(len(prediction), dtype=torch.bool, device=prediction.device)
    labels = labels.to(prediction)
    labelled = (labels >= 0).flatten(1).any(1)
    return torch.where(labelled[:, None, None], labels, prediction), labelled


def pixel_counts(prediction: Tensor, reference: Tensor, classes: int) -> Tensor:
    """Pixels of each class in each image, int64 [3, n, classes] in the CPU's memory.

    They are those in both maps, in the prediction, and in the reference, both int [n, h, w]; pixels
    whose reference is outside 0..classes-1 (ignored ones) do not count.
    """
    counts = confusions(prediction, reference, classes)
    return torch.stack([counts.diagonal(dim1=1, dim2=2), counts.sum(1), counts.sum(2)])


def class_iou(prediction: Tensor, reference: Tensor, classes: int) -> Tensor:
    """Intersection over union of each class in each image, float32 [n, classes].

    Counted as by :func:`pixel_counts`. nan for a class that the reference lacks, whatever is
    predicted: so the same images count for every prediction that is compared on one reference.
    """
    # Not every device has float64 (MPS); the counts are few.
    return iou_of(pixel_counts(prediction, reference, classes)).to(prediction.device)


def iou_of(counts: Tensor) -> Tensor:
    """IoU, float32 [n, classes], of the counts of :func:`pixel_counts`; nan of what the reference
    lacks."""
    shared, predicted, held = counts.double()
    iou = shared / (predicted + held - shared).clamp(min=1)
    return torch.where(held > 0, iou, torch.nan).float()


def by_right_pixels(before: Tensor, after: Tensor) -> Tensor:
    """The part of a change of IoU that is of pixels of the class itself, float32 [n, classes].

    From two predictions' :func:`pixel_counts` on one reference. With t right pixels, f false ones
    and h of the class, IoU = t / (h + f); the part is what the change of t does, in the mean of
    doing so before f changes and after (Shapley's value of the two):

        (t' - t) / 2 * (1 / (h + f) + 1 / (h + f'))

    The rest of the change is that of false pixels. nan of what the reference lacks.
    """
    (right, predicted, held), (kept, then, _) = before.double(), after.double()
    wholes = [held + predicted - right, held + then - kept]
    part = (kept - right) / 2 * sum(1 / whole.clamp(min=1) for whole in wholes)
    return torch.where(held > 0, part, torch.nan).float()


def class_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that an image has, [n, k] -> [n]; nan where it has none."""
    count = np.isfinite(values).sum(1)
    return np.where(count > 0, np.nansum(values, 1) / np.maximum(count, 1), np.nan)


def without_small(labels: Tensor, classes: int, min_share: float) -> Tensor:
    """Labels [n, h, w] with -1 where they are ignored or of a class of too small a share.

    That is a class of at most `min_share` of the known pixels of its image.
    """
    safe = labels.clamp(0, classes - 1)
    pixels = pixel_counts(safe, labels, classes)[2].to(labels.device)
    small = pixels <= min_share * pixels.sum(1, keepdim=True)
    dropped = small.gather(1, safe.flatten(1)).reshape(labels.shape) | (safe != labels)
    return torch.where(dropped, -1, labels)

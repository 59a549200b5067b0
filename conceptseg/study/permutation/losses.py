"""What an image's prediction costs, class by class: overlap, likelihood, borders."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.network.label_map import label_map
from conceptseg.study.shared.overlap import class_iou

EXTRA = ("nll", "boundary")


def overlap_loss(logits: Tensor, labels: Tensor) -> np.ndarray:
    """1 - IoU of each class in each image, float64 [n, k]; nan where the labels lack the class."""
    k = logits.shape[1]
    return np.asarray(1 - class_iou(label_map(logits), labels, k).double().cpu().numpy())


def likelihood_loss(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Mean -log p of the true class over each class's pixels, float64 [n, k], in nats.

    nan where the labels lack the class.
    """
    n, k = logits.shape[:2]
    known = (labels >= 0) & (labels < k)
    safe = labels.clamp(0, k - 1)
    loss = -logits.float().log_softmax(1).gather(1, safe[:, None])[:, 0].double()
    cells = torch.arange(n, device=labels.device)[:, None, None] * k + safe
    total = torch.bincount(cells[known], loss[known], minlength=n * k).reshape(n, k)
    count = torch.bincount(cells[known], minlength=n * k).reshape(n, k)
    return np.asarray((total / count).cpu().numpy())


def boundary_loss(logits: Tensor, labels: Tensor, tolerance: int) -> np.ndarray:
    """1 - F of each class's borders, float64 [n, k]: 2 P R / (P + R).

    A border pixel has a neighbour to any of four sides of another class. P is the share of
    predicted border pixels within `tolerance` px (the larger of both distances along the axes) of a
    true one, R the reverse; ignored pixels are in no border. F is 0 where nothing is predicted, nan
    where the labels have no border of the class.

    Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"
    """
    k = logits.shape[1]
    prediction = torch.where(labels >= 0, label_map(logits), labels)
    losses = np.full((len(labels), k), np.nan)
    for c in range(k):
        held = (labels == c).flatten(1).any(1)
        rows = held.nonzero()[:, 0]
        if not len(rows):
            continue
        maps = labels, prediction
        true, predicted = (_border(one[rows] == c, labels[rows] >= 0) for one in maps)
        bordered = true.flatten(1).any(1)
        precision = _share(predicted & _grown(true, tolerance), predicted)
        recall = _share(true & _grown(predicted, tolerance), true)
        total = precision + recall
        f = torch.where(total > 0, 2 * precision * recall / total.clamp(min=1e-12), total)
        loss = torch.where(bordered, 1 - f.double(), torch.nan)
        losses[rows.cpu().numpy(), c] = loss.cpu().numpy()
    return losses


def _border(mask: Tensor, known: Tensor) -> Tensor:
    """Pixels of masks [n, h, w] beside a known pixel that is not of the mask."""
    outside = known & ~mask
    beside = torch.zeros_like(mask)
    beside[:, 1:] |= outside[:, :-1]
    beside[:, :-1] |= outside[:, 1:]
    beside[:, :, 1:] |= outside[:, :, :-1]
    beside[:, :, :-1] |= outside[:, :, 1:]
    return mask & beside


def _grown(mask: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    return F.max_pool2d(mask[:, None].float(), side, 1, radius)[:, 0] > 0


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Share of whole [n, h, w] that is part, [n]; 0 where there is none."""
    count = whole.flatten(1).sum(1)
    return part.flatten(1).sum(1) / count.clamp(min=1)

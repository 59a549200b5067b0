"""Single units as detectors of a class: one threshold, midway between two means."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def unit_counts(
    features: Tensor,
    labels: Tensor,
    inside: np.ndarray,
    outside: np.ndarray,
    side: int,
) -> np.ndarray:
    """Pixels of one image in which each unit is on for each class, float32 [u, k, 3].

    The last axis: on and of the class, on, of the class. Unit u is on for class c where its value
    in features [u, y, x] is nearer to inside[c, u], its mean where the class is predicted, than to
    outside[c, u]: for two prototypes of one unit that is a threshold midway. Both are taken on a
    grid whose longer side is `side` px, labels [h, w] by their nearest pixel; pixels without a
    label count nowhere. Where the means are equal, or a class has none, the unit is never on.
    """
    height, width = labels.shape
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    truth = F.interpolate(labels[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    x = F.interpolate(features[None], size, mode="bilinear", align_corners=False)[0].flatten(1)
    known = (truth >= 0).flatten()
    x, truth = x[:, known], truth.flatten()[known]
    found = np.zeros((features.shape[0], len(inside), 3), dtype=np.float32)
    for c in range(len(inside)):
        held = truth == c
        found[:, c, 2] = float(held.sum())
        ends = np.array([inside[c], outside[c]], np.float32)
        if not np.isfinite(ends).all():
            continue
        near, far = torch.from_numpy(ends).to(x.device)
        on = (x - ((near + far) / 2)[:, None]) * (near - far)[:, None] > 0
        found[:, c, 0] = (on & held).sum(1).cpu().numpy()
        found[:, c, 1] = on.sum(1).cpu().numpy()
    return found


def pooled_dice(counts: np.ndarray) -> np.ndarray:
    """Dice over all pixels of images: counts [m, ..., 3] -> [...]; nan where nothing is counted.

    Images without the class count too: a unit that is on in them is on for nothing.
    """
    total = counts.astype(np.float64).sum(0)
    sizes = total[..., 1] + total[..., 2]
    return np.where(sizes > 0, 2 * total[..., 0] / np.maximum(sizes, 1), np.nan)

"""Single units as detectors of a class: one threshold, midway between two means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def unit_dice(
    features: Tensor,
    labels: Tensor,
    inside: np.ndarray,
    outside: np.ndarray,
    side: int,
) -> np.ndarray:
    """Dice of each unit with each class in one image, float32 [u, k].

    Unit u is on for class c where its value in features [u, y, x] is nearer to inside[c, u], its
    mean where the class is predicted, than to outside[c, u]: for two prototypes of one unit that is
    a threshold midway. Both are taken on a grid whose longer side is `side` px, labels [h, w] by
    their nearest pixel. nan where the class is absent on that grid; 0 where the means are equal.
    """
    import torch
    import torch.nn.functional as F

    height, width = labels.shape
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    truth = F.interpolate(labels[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    x = F.interpolate(features[None], size, mode="bilinear", align_corners=False)[0].flatten(1)
    known = (truth >= 0).flatten()
    x, truth = x[:, known], truth.flatten()[known]
    found = np.full((features.shape[0], len(inside)), np.nan, dtype=np.float32)
    for c in range(len(inside)):
        held = truth == c
        if not held.any() or not np.isfinite(inside[c]).all() or not np.isfinite(outside[c]).all():
            continue
        near = torch.from_numpy(np.asarray(inside[c], np.float32)).to(x.device)
        far = torch.from_numpy(np.asarray(outside[c], np.float32)).to(x.device)
        on = (x - ((near + far) / 2)[:, None]) * (near - far)[:, None] > 0
        shared = (on & held).sum(1)
        total = on.sum(1) + held.sum()
        found[:, c] = (2 * shared / total).cpu().numpy()
    return found

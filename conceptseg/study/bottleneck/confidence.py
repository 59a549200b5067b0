"""How sure a network is of an image, as a few numbers that an estimate of quality has to surpass.

All are read off the logits, so they cost no pass but that of the mirrored image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NAMES = (
    "confidence",
    "margin",
    "entropy",
    "least_sure",
    "foreground",
    "foreground_confidence",
    "foreground_entropy",
    "boundary",
    "boundary_entropy",
    "classes_predicted",
)
MIRRORED = ("flip_agreement", "flip_overlap")


def names(flip: bool) -> list[str]:
    """What is measured of an image, in order; `flip`: with its mirrored copy's prediction."""
    return [*NAMES, *MIRRORED] if flip else list(NAMES)


def summaries(logits: Tensor, studied: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The numbers of `NAMES` [n, 10] for logits [n, k, h, w], and each class's largest p [n, k].

    With p the softmax at a pixel: largest probability max p, margin p(1) - p(2) of the two largest,
    entropy -sum p log p / log k, all in [0, 1]. The foreground is where a class of `studied` is
    predicted, the border where a neighbour to any of four sides is predicted differently; where
    either has no pixel its mean is that of the whole image for the foreground, 0 for the border.
    """
    n, k = logits.shape[:2]
    log_p = logits.float().log_softmax(1)
    p = log_p.exp()
    peak = p.amax((2, 3))
    top, prediction = p.max(1)
    second = p.scatter(1, prediction[:, None], -1.0).amax(1)
    entropy = -(p * log_p).sum(1) / torch.log(torch.tensor(float(k)))
    wanted = torch.zeros(k, dtype=torch.bool, device=logits.device)
    wanted[list(studied)] = True
    foreground, border = wanted[prediction], borders(prediction)
    everywhere = torch.ones_like(foreground)
    present = torch.stack([(prediction == c).flatten(1).any(1) for c in studied], 1)
    numbers = [
        _mean(top, everywhere),
        _mean(top - second, everywhere),
        _mean(entropy, everywhere),
        top.flatten(1).kthvalue(max(1, round(0.05 * top[0].numel())), dim=1).values,
        foreground.float().mean((1, 2)),
        _mean(top, foreground, _mean(top, everywhere)),
        _mean(entropy, foreground, _mean(entropy, everywhere)),
        border.float().mean((1, 2)),
        _mean(entropy, border, torch.zeros(n, device=logits.device)),
        present.float().mean(1),
    ]
    return torch.stack(numbers, 1), peak


def agreement(prediction: Tensor, mirrored: Tensor, studied: Sequence[int]) -> Tensor:
    """The numbers of `MIRRORED` for two predictions [n, h, w] of the same pixels, float32 [n, 2].

    The share of pixels of equal class, and the mean over the studied classes that either holds of
    their intersection over union; 1 where neither holds any.
    """
    pairs = [(prediction == c, mirrored == c) for c in studied]
    shared = torch.stack([(one & other).flatten(1).sum(1) for one, other in pairs], 1)
    union = torch.stack([(one | other).flatten(1).sum(1) for one, other in pairs], 1)
    held = union > 0
    mean = (shared / union.clamp(min=1)).sum(1) / held.sum(1).clamp(min=1)
    overlap = torch.where(held.any(1), mean, torch.ones_like(mean))
    return torch.stack([(prediction == mirrored).float().mean((1, 2)), overlap], 1)


def borders(prediction: Tensor) -> Tensor:
    """Pixels [n, h, w] of which a neighbour above, below, left or right is of another class."""
    border = torch.zeros_like(prediction, dtype=torch.bool)
    for axis, size in ((1, prediction.shape[1] - 1), (2, prediction.shape[2] - 1)):
        differ = prediction.narrow(axis, 1, size) != prediction.narrow(axis, 0, size)
        border.narrow(axis, 0, size).logical_or_(differ)
        border.narrow(axis, 1, size).logical_or_(differ)
    return border


def _mean(values: Tensor, where: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """Mean of values [n, h, w] over booleans of that shape, [n]; `otherwise` where none holds."""
    count = where.flatten(1).sum(1)
    mean = (values * where).flatten(1).sum(1) / count.clamp(min=1)
    return mean if otherwise is None else torch.where(count > 0, mean, otherwise)

"""Relevance of the logits, from which everything else is shared out."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from conceptseg.explain.target import FixedTarget

POINTS = 24
"""Points of Gauss and Legendre on the line that logits change along."""

Quantity = Literal["logit", "probability", "one"]
Sign = Literal["signed", "positive"]


def relevance_of_logits(
    logits: Tensor,
    masks: Tensor,
    class_id: int,
    quantity: Quantity = "logit",
    sign: Sign = "signed",
    normalise: bool = True,
) -> Tensor:
    """Relevance R [n, k, h, w] of a class in regions, bool [n, h, w].

    `logits` is what relevance is a share of: the logits, or what they changed by against a
    reference (:attr:`conceptseg.explain.lrp.engine.Run.evidence`), of which no probability can be
    made.

    R = q / sum |q| over the region of each image by itself, with q the class's logit, its
    probability or 1, in the region and 0 elsewhere. `positive` drops what is negative, as the
    published code does: an image whose class wins with negative logits then gets no relevance at
    all. Without `normalise` it is q over the number of the region's pixels. Zero where a region
    is empty.
    """
    values = logits.detach()
    chosen = values[:, class_id]
    if quantity == "probability":
        chosen = values.softmax(1)[:, class_id]
    elif quantity == "one":
        chosen = torch.ones_like(chosen)
    chosen = chosen * masks
    if sign == "positive":
        chosen = chosen.clamp(min=0)
    total = chosen.abs().sum((1, 2)) if normalise else masks.sum((1, 2)).to(chosen)
    chosen = chosen / total.where(total > 0, torch.ones_like(total))[:, None, None]
    relevance = torch.zeros_like(values)
    relevance[:, class_id] = chosen
    return relevance


def relevance_of_target(logits: Tensor, target: FixedTarget) -> Tensor:
    """R = z dT/dz, [n, k, h, w], of a target T: what each logit adds to it, to first order."""
    return _slope(logits.detach(), target) * logits.detach()


def relevance_of_change(logits: Tensor, change: Tensor, target: FixedTarget) -> Tensor:
    """R [n, k, h, w] that sums to how much a target T changed when logits changed to `logits`.

    R = dz times the mean of dT/dz on the straight line that leads there (Aumann and Shapley);
    of a target that is linear in the logits that is dz dT/dz.
    """
    places, weights = np.polynomial.legendre.leggauss(POINTS)
    mean = torch.zeros_like(logits)
    for place, weight in zip((1 - places) / 2, weights / 2, strict=True):
        mean += float(weight) * _slope(logits.detach() - float(place) * change, target)
    return mean * change


def _slope(logits: Tensor, target: FixedTarget) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        entered = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(target(entered).sum(), entered)
    return gradient

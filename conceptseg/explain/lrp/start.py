"""Relevance of the logits, from which everything else is shared out."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from conceptseg.explain.target import FixedTarget

POINTS = 24
"""Points of Gauss and Legendre on the line that logits change along."""

Quantity = Literal["logit", "centred", "probability", "one"]
"""See :func:`relevance_of_logits`."""
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

    `centred` is the logit less the mean of all k classes': of a network whose classes compete the
    decision and the probabilities are the same whatever all logits have in common, and a logit
    itself, with that part in it, may be a small remainder that a last layer's terms cancel to. Each
    logit takes what it adds, (1 - 1/k) z of the class and -z / k of each other, so q is their sum.
    """
    values = logits.detach()
    relevance = torch.zeros_like(values)
    if quantity == "centred":
        relevance = -values / values.shape[1]
        relevance[:, class_id] += values[:, class_id]
    elif quantity == "probability":
        relevance[:, class_id] = values.softmax(1)[:, class_id]
    else:
        relevance[:, class_id] = 1.0 if quantity == "one" else values[:, class_id]
    relevance = relevance * masks[:, None]
    chosen = relevance.sum(1)
    if sign == "positive":
        relevance = relevance * (chosen > 0)[:, None]
        chosen = chosen.clamp(min=0)
    total = chosen.abs().sum((1, 2)) if normalise else masks.sum((1, 2)).to(chosen)
    return relevance / total.where(total > 0, torch.ones_like(total))[:, None, None, None]


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

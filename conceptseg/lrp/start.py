"""Relevance of the logits, from which everything else is shared out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from conceptseg.target import FixedTarget

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
    reference (:attr:`conceptseg.lrp.engine.Run.evidence`), of which no probability can be made.

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


def relevance_of_target(logits: Tensor, target: FixedTarget, evidence: Tensor) -> Tensor:
    """R = z dT/dz, [n, k, h, w], of a target T: what each logit adds to it, to first order.

    The slope is that at the logits; z is the `evidence`, they or their change.
    """
    with torch.inference_mode(False), torch.enable_grad():
        entered = logits.detach().clone().requires_grad_()
        value = target(entered).sum()
        (gradient,) = torch.autograd.grad(value, entered)
    return gradient * evidence.detach()

"""Which preprocessing suits a network and its images, of those that are often trained with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.config import Preprocessing
from conceptseg.engine.agreement import agreement, confusion
from conceptseg.engine.contract import Context
from conceptseg.engine.otherwise import Changes, reversed_channels, scalings
from conceptseg.engine.reading import read, some
from conceptseg.engine.start import precision
from conceptseg.network.label_map import label_map

IMAGES = 16
"""Images with masks that are tried."""
Tried = tuple[float, str, Changes]
"""Mean IoU with a way to prepare images, what it is called, and the keys that it changes."""
CLEARLY = 0.02
"""Mean IoU by which another way must agree better with the masks to be taken."""


@dataclass(frozen=True)
class Suited:
    """The keys of `model.preprocessing` to change, what they are called, the mean IoU with them and
    as it was, and how many ways and images were tried."""

    changes: Changes
    words: str
    mean: float
    own: float
    ways: int
    images: int


def suited(context: Context) -> Suited | None:
    """The way to prepare images that agrees best with their masks; None without masks.

    The one that is set stays unless another agrees better by :data:`CLEARLY`. Each way costs a pass
    of :data:`IMAGES` images.
    """
    model = context.model
    with torch.no_grad(), precision(context.run):
        batches = [
            (batch.images, batch.labels)
            for batch in read(context, some(context, IMAGES), "optional")
            if batch.labels is not None and bool((batch.labels >= 0).any())
        ]
        if not batches:
            return None
        own = model.preprocessing
        colours = torch.cat([one.float().mean((2, 3), keepdim=True) for one, _ in batches])
        tried: list[Tried] = [(_mean(context, own, batches), "as they are", {})]
        for words, changes in scalings(own, colours):
            tried.append((_mean(context, own.model_copy(update=changes), batches), words, changes))
        best = _clearly(tried)
        if colours.shape[1] == 3:
            words, turned = reversed_channels(own)
            changes = best[2] | turned
            mean = _mean(context, own.model_copy(update=changes), batches)
            tried.append((mean, f"{best[1]}, {words}", changes))
            best = _clearly([best, tried[-1]])
    count = sum(len(one) for one, _ in batches)
    return Suited(best[2], best[1], best[0], tried[0][0], len(tried), count)


def _clearly(tried: list[Tried]) -> Tried:
    """The best of some ways, if it is clearly better than the first; else the first."""
    best = max(tried, key=lambda one: one[0])
    return best if best[0] > tried[0][0] + CLEARLY else tried[0]


def _mean(
    context: Context, preprocessing: Preprocessing, batches: list[tuple[Tensor, Tensor]]
) -> float:
    """Mean IoU over the classes of the masks."""
    model, k = context.model.under(preprocessing), len(context.model.classes)
    counts = np.zeros((k, k), np.int64)
    for images, labels in batches:
        model.settle(images)
        counts += confusion(label_map(model(images)), labels, k)
    return agreement(counts).mean

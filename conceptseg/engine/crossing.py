"""Whether the masks of independent classes are those of other ones among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from conceptseg.engine.agreement import assigned, crossed
from conceptseg.engine.contract import Context
from conceptseg.engine.prepared import CLEARLY
from conceptseg.engine.reading import read, some
from conceptseg.engine.renaming import IMAGES, followed, in_words
from conceptseg.engine.verdicts import Verdict
from conceptseg.network.independent import every, pair
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel


class Examiner(Protocol):
    """What is known of a class that is examined: its network's, and a few images' masks [n, h, w]
    and predictions [n, h, w]."""

    context: Context
    model: SegmentationModel
    labels: Tensor | None
    prediction: Tensor

    def forward(self, model: SegmentationModel, images: Tensor, /) -> Tensor: ...


def crossed_names(examiners: Sequence[Examiner]) -> Iterator[Verdict]:
    """Whether the masks of independent classes fit other ones of them better."""
    labels = [one.labels for one in examiners if one.labels is not None]
    held = [bool((mask == 1).any()) for mask in labels]
    if len(examiners) < 2 or len(held) < len(examiners) or not all(held):
        return
    found = crossed([one.prediction == 1 for one in examiners], labels)
    values, order = assigned(found)
    own, best = float(found.diagonal().mean()), float(values.mean())
    if best <= own + CLEARLY:
        return
    pairs = list(enumerate(order))
    moved = in_words([one.model.classes[1] for one in examiners], pairs)
    more = followed(_together(examiners), pairs)
    if not more.exchanged:
        yield Verdict("class names", more.refuted(moved, len(labels[0])))
        return
    yield Verdict(
        "class names",
        f"masks fit other classes better: {moved}: mean IoU {best:.2f} against {own:.2f}; "
        f"{more.words}; check the order of model.classes and the names of the masks",
        doubt=True,
    )


def _together(examiners: Sequence[Examiner]) -> Iterator[Tensor]:
    """Pixels of more images by independent class of the mask and of the network, int [n, k, k]."""
    samples = [some(one.context, IMAGES) for one in examiners]
    first = examiners[0]
    for batches in zip(
        *(read(one.context, own, "optional") for one, own in zip(examiners, samples, strict=True)),
        strict=True,
    ):
        masks = [batch.labels for batch in batches]
        if any(mask is None for mask in masks):
            continue
        logits = first.forward(every(first.model), batches[0].images)
        seen = [label_map(pair(one.model, logits)) == 1 for one in examiners]
        yield torch.stack(
            [torch.stack([((m == 1) & p).sum((1, 2)) for p in seen], 1) for m in masks], 1
        ).cpu()

"""The network as LRP sees it, made once a pass; and which region of an image speaks for a class."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from conceptseg.engine.contract import Pass
from conceptseg.explain.lrp.engine import Engine, Run
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.record import undisturbed

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.manifest import Sample
    from conceptseg.engine.contract import Context
    from conceptseg.explain.lrp.composites import CompositeName
    from conceptseg.network.model import SegmentationModel
    from conceptseg.study.lcrp.config import Lcrp

LEAST_PIXELS, LEAST_SHARE = 64, 0.0005


@dataclass
class Engines:
    """Engines of a study's network by composite, and of its shuffled twins, made when asked for."""

    study: Lcrp
    _made: dict[tuple[int, str], Engine] = field(default_factory=dict, repr=False)
    _twins: dict[tuple[int, int], Engine] = field(default_factory=dict, repr=False)

    def of(
        self, context: Context, images: Tensor, composite: CompositeName | None = None
    ) -> Engine:
        name = composite or self.study.composite
        if (id(context), name) not in self._made:
            first = next((e for e in self._of_network(context)), None)
            if first is None:
                first = self._engine(context.model, images, name)
                first.check_layer(context.layer)
            same = first.composite == name
            self._made[id(context), name] = first if same else first.under(name)
        return self._made[id(context), name]

    def _of_network(self, context: Context) -> list[Engine]:
        return [e for (c, _), e in self._made.items() if c == id(context)]

    def shuffled(self, context: Context, images: Tensor, number: int) -> Engine:
        """That of the network with its weights shuffled, by the run's seed plus `number`."""
        from conceptseg.network.shuffle import shuffled

        if (id(context), number) not in self._twins:
            twin = shuffled(context.model, context.seed + number)
            made = self._engine(twin, images, self.study.composite)
            self._twins[id(context), number] = made
        return self._twins[id(context), number]

    def _engine(self, model: SegmentationModel, images: Tensor, name: CompositeName) -> Engine:
        study = self.study
        return Engine(model, images[:1], name, zero_bias=study.zero_bias, reference=study.reference)


class Sweep(Pass):
    """A pass of the study, with its engines."""

    _engines: Engines

    def __init__(self, study: Lcrp, before: Sweep | None = None):
        """With the engines of a sweep `before` it, or its own."""
        self.study = study
        self._engines = before._engines if before else Engines(study)

    @staticmethod
    def _only(context: Context, ids: Container[str]) -> list[Sample]:
        return [sample for sample in context.manifest.samples if sample.id in ids]


def regions(prediction: Tensor, class_ids: tuple[int, ...]) -> dict[int, Tensor]:
    """Of one image's prediction [h, w], the region [1, h, w] of each class that is large enough.

    At least 64 pixels (of a small image a quarter, if that is less) and 0.05 % of the image.
    """
    least = max(min(LEAST_PIXELS, prediction.numel() // 4), LEAST_SHARE * prediction.numel())
    found = {}
    for class_id in class_ids:
        mask = prediction == class_id
        if int(mask.sum()) >= least:
            found[class_id] = mask[None]
    return found


def start_of(study: Lcrp, run: Run, masks: Tensor, class_id: int) -> Tensor:
    """The study's relevance of the logits for one class in regions [n, h, w]."""
    return relevance_of_logits(run.evidence, masks, class_id, study.quantity, study.sign)


def object_mask(labels: Tensor | None, class_id: int, region: Tensor) -> Tensor:
    """Where the class is, bool [h, w]: by the labels where the image has some of it, else by the
    prediction. Ignored pixels are not the class."""
    if labels is not None and bool((labels == class_id).any()):
        return labels == class_id
    return region[0]


def context_score(maps: Tensor, mask: Tensor) -> Tensor:
    """C = sum H+ (1 - m) / (sum H+ + 1e-12) of maps [m, h, w] for the object's mask [h, w].

    Source: Dreyer et al. 2023, arXiv:2211.11426, section 3.3.
    """
    positive = maps.clamp(min=0)
    return (positive * ~mask).sum((1, 2)) / (positive.sum((1, 2)) + 1e-12)


def predict(context: Context, images: Tensor) -> Tensor:
    """The clean prediction [n, h, w]."""
    with undisturbed(context.model), torch.no_grad():
        return context.model(images).argmax(1)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [m, y, x] at an image's size, bilinearly."""
    from torch.nn import functional as F

    if maps.shape[1:] == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]

"""What is explained: a class and a region of an image, as one number.

:class:`Target` names class, region and score; :meth:`Target.on` fixes the region on the clean
image, so that a perturbed image is scored on the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptseg.config import Reduction, ScoreName, TargetConfig
from conceptseg.errors import InputError
from conceptseg.explain.regions import (
    Boundary,
    Box,
    Component,
    Everything,
    FalseNegative,
    FalsePositive,
    Labelled,
    Predicted,
    Region,
    TruePositive,
    UserMask,
)


@dataclass(frozen=True)
class Target:
    """A class c in a region M, as one number per image: the mean (or sum) over M of a score.

    Scores t of logits z at a pixel: `margin` z_c - log sum_{k != c} exp z_k, the log-odds of c,
    blind to a constant added to all logits; `centred` z_c - mean of z, blind to it too: the centred
    log-ratio of the class probabilities (Aitchison 1982), in which a rival that has long lost still
    counts, while the margin's gradient sees the strongest rivals alone; `logit` z_c, as most papers
    have it; `logprob` log softmax(z)_c; `probability` softmax(z)_c. The region is where c is
    predicted, if not given. The CAM papers' target is `score="logit", reduce="sum"`.
    """

    class_id: int
    region: Region | None = None
    score: ScoreName = "margin"
    reduce: Reduction = "mean"

    def __post_init__(self) -> None:
        for field, options in (("score", _SCORES), ("reduce", ("mean", "sum"))):
            value = getattr(self, field)
            if value not in options:
                raise InputError(f"target {field} is one of {', '.join(options)}, got {value!r}")

    @property
    def where(self) -> Region:
        return Predicted(self.class_id) if self.region is None else self.region

    @property
    def of_class(self) -> bool:
        """Whether the score is that of the class `class_id`."""
        return True

    def on(
        self, logits: Tensor, labels: Tensor | None = None, prediction: Tensor | None = None
    ) -> FixedTarget:
        """This target with its region fixed by the clean images' logits [n, k, h, w] and labels.

        `prediction` [n, h, w] as in :meth:`Region.mask`, for many targets of the same images.
        Raises InputError if the class is not among the logits, or as :meth:`Region.mask` does.
        """
        classes = logits.shape[1]
        if not 0 <= self.class_id < classes:
            raise InputError(f"class {self.class_id} is not among the {classes} of the network")
        if self.score in ("margin", "centred") and classes < 2:
            raise InputError(f"a {self.score} score needs at least two classes; take 'logit'")
        mask = self.where.mask(logits, labels, prediction)
        return FixedTarget(self.class_id, mask, self.score, self.reduce)


@dataclass(frozen=True, eq=False)
class FixedTarget:
    """Logits [r n, k, h, w] -> one number per row [r n], on a mask [n, h, w] that stays.

    Rows i r .. i r + r - 1 are scored on the mask of image i. An empty mask scores 0, with zero
    gradient. `pixels` [n] counts the mask, `empty` [n] says where it is empty.
    """

    class_id: int
    mask: Tensor
    score: ScoreName = "margin"
    reduce: Reduction = "mean"

    def image(self, i: int) -> FixedTarget:
        """The same target for the i-th image alone."""
        return replace(self, mask=self.mask[i : i + 1])

    @property
    def of_class(self) -> bool:
        """Whether the score is that of the class `class_id`."""
        return True

    @property
    def pixels(self) -> Tensor:
        return self.mask.sum((1, 2))

    @property
    def empty(self) -> Tensor:
        return self.pixels == 0

    def __call__(self, logits: Tensor) -> Tensor:
        n = self.mask.shape[0]
        if logits.shape[2:] != self.mask.shape[1:] or logits.shape[0] % max(n, 1):
            raise InputError(
                f"logits of shape {list(logits.shape)} for a region that was fixed on "
                f"{list(self.mask.shape)}"
            )
        mask = self.mask.repeat_interleave(logits.shape[0] // max(n, 1), 0)
        if self.score == "logit":  # the most common, and no other class has to be looked at
            total = logits[:, self.class_id].masked_fill(~mask, 0.0).sum((1, 2))
            return total / mask.sum((1, 2)).clamp(min=1) if self.reduce == "mean" else total
        # Only the region's pixels are scored: of all classes' regions that is one image's work.
        values = _SCORES[self.score](logits.movedim(1, -1)[mask], self.class_id)
        total = values.new_zeros(mask.shape).masked_scatter(mask, values).sum((1, 2))
        return total / mask.sum((1, 2)).clamp(min=1) if self.reduce == "mean" else total


def pinned(target: Target, mask: Tensor) -> Target:
    """The target on given pixels [n, h, w] of n images, wherever it is asked for."""
    return replace(target, region=UserMask(mask))


def _margin(rows: Tensor, c: int) -> Tensor:
    return rows[:, c] - torch.cat((rows[:, :c], rows[:, c + 1 :]), 1).logsumexp(1)


_SCORES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "margin": _margin,
    "centred": lambda rows, c: rows[:, c] - rows.mean(1),
    "logit": lambda rows, c: rows[:, c],
    "logprob": lambda rows, c: rows.log_softmax(1)[:, c],
    "probability": lambda rows, c: rows.softmax(1)[:, c],
}
"""Logits of pixels [p, k] and a class -> scores [p]."""


_BY_NAME: dict[str, Callable[[int], Region]] = {
    "predicted": Predicted,
    "labelled": Labelled,
    "true_positive": TruePositive,
    "false_positive": FalsePositive,
    "false_negative": FalseNegative,
    "everything": lambda class_id: Everything(),
}


def configured(config: TargetConfig, class_id: int) -> Target:
    """The target that a study's file describes, for one class."""
    region = _BY_NAME[config.region](class_id)
    if config.part == "boundary":
        region = Boundary(region, config.radius_px)
    elif config.part != "whole":
        region = Component(region, config.part)
    if config.box is not None:
        region = region & Box(*config.box)
    return Target(class_id, region, config.score, config.reduce)

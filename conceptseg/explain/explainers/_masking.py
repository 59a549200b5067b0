"""What a network says of images of which parts are hidden.

Masks are made a few at a time, as the passes need them, so that no more than one batch of them is
ever held.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.errors import InputError
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.scene import Read, Scene
from conceptseg.explain.target import Target

Masks = Callable[[int, int], Tensor]
"""A range start..stop of masks -> [r, h, w], or [n, r, h, w] where each image has its own; 1 keeps
a pixel, 0 hides it."""
Measure = Literal["score", "dice", "iou", "softdice"]
"""What is read of the logits; see :func:`reader`."""
Interpolation = Literal["bilinear", "nearest"]
Greys = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)]
"""Flat greys to hide with, in [0, 1]."""
GREYS = (0.0, 0.25, 0.5, 0.75, 1.0)


def respond(scene: Scene, fill: Fill, count: int, masks: Masks, read: Read) -> Tensor:
    """read(logits) of each image x m + fill (1 - m) under masks 0..count-1, [t, n, count]."""
    hide = Hide(scene, fill)
    return scene.respond(count, lambda _, start, stop: hide(masks(start, stop)), read)


class Hide:
    """A scene's images x with parts replaced: masks m -> x m + fill (1 - m), [n, r, c, h, w].

    Where m is 1 or 0 the result is the image or the fill to the last bit. The variants lie in
    memory as the images do.
    """

    def __init__(self, scene: Scene, fill: Fill):
        images = scene.images
        self._last = images.is_contiguous(memory_format=torch.channels_last)
        # Mixed channel by channel: a mask repeated along the innermost axis is not vectorised.
        self._images = images.contiguous()[:, None]
        self._fill = filling(scene.model, images, fill).contiguous()[:, None]

    def __call__(self, masks: Tensor) -> Tensor:
        kept = masks.to(self._images)[..., None, :, :]
        mixed = torch.lerp(self._fill, self._images, kept if kept.dim() == 5 else kept[None])
        if not self._last:
            return mixed
        laid = mixed.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return laid.unflatten(0, mixed.shape[:2])


def reader(scene: Scene, targets: Sequence[Target], measure: Measure) -> Read:
    """Logits [n r, k, h, w] -> one number per target and row, [t, n r].

    `score` is the target's own. The others compare the class's prediction with the target's region
    M, which stays that of the clean image, over the whole image: `dice` 2 |P & M| / (|P| + |M|)
    and `iou` |P & M| / |P or M| of the pixels P whose largest logit is the class's, and `softdice`
    2 sum_M p / (sum p + |M|) with the class's probability p in P's place. All are in [0, 1], and
    0 where M is empty. A class that is predicted outside of M counts against it, also where M is
    only a part of what was predicted.

    Raises InputError for an overlap where the clean image's logits are not finite.
    """
    scores = [scene.fix(target) for target in targets]
    if measure == "score":
        return lambda logits: torch.stack([score(logits) for score in scores])
    if not scene.logits.isfinite().all():
        raise InputError("the network's logits are not finite; it cannot be explained")

    classes = [score.class_id for score in scores]

    def read(logits: Tensor) -> Tensor:
        maps = _shares(logits, classes) if measure == "softdice" else _predicted(logits, classes)
        pairs = zip(maps, scores, strict=True)
        return torch.stack([overlap(held, score.mask, measure) for held, score in pairs])

    return read


FEW = 2
"""Up to so many classes are read one by one, which is faster than all of a network's at once."""


def _predicted(logits: Tensor, classes: Sequence[int]) -> list[Tensor]:
    """Where each class has the first of the largest logits, as argmax has it: bool [m, h, w]."""
    if len(classes) > FEW:
        # Of `argmax` and `max`, which agree on ties, the latter is the faster by far.
        prediction = logits.max(1).indices
        return [prediction == c for c in classes]
    found = []
    for c in classes:
        own = logits[:, c]
        held = torch.ones_like(own, dtype=torch.bool)
        if c:
            held &= own > logits[:, :c].amax(1)
        if c + 1 < logits.shape[1]:
            held &= own >= logits[:, c + 1 :].amax(1)
        found.append(held)
    return found


def _shares(logits: Tensor, classes: Sequence[int]) -> list[Tensor]:
    """softmax(z)_c of each class, [m, h, w], by steps that are fast in any memory layout."""
    if len(classes) > FEW:
        powers = (logits - logits.amax(1, keepdim=True)).exp_()
        total = powers.sum(1)
        return [powers[:, c] / total for c in classes]
    # Powers that overflow belong to a share of 0, which is what their reciprocal is.
    return [1 / (logits - logits[:, c : c + 1]).exp_().sum(1) for c in classes]


def overlap(held: Tensor, region: Tensor, measure: Measure) -> Tensor:
    """Dice or IoU, float64 [n r], of maps [n r, h, w] with the regions [n, h, w] they are of.

    Maps are booleans or in [0, 1]. Pixels are summed in double precision: what is asked for is
    often a small difference of two overlaps.
    """
    rows = held.unflatten(0, (region.shape[0], -1)).flatten(2)
    mask = region.flatten(1)[:, None]
    common, size = (part.sum(2, dtype=torch.float64) for part in (rows * mask, rows))
    both = size + mask.sum(2)
    found = common / (both - common) if measure == "iou" else 2 * common / both
    return torch.where(both > 0, found, torch.zeros_like(found)).flatten()


def stretch(cells: int, size: int, interpolation: Interpolation) -> Tensor:
    """How `cells` values become `size` pixels: the weights of each pixel, float64 [size, cells].

    A grid [cells_y, cells_x] is enlarged by `rows @ grid @ columns.T`. Cells are of equal width
    before pixels are told apart; corners are not aligned.
    """
    mode = "linear" if interpolation == "bilinear" else "nearest-exact"
    unit = torch.eye(cells, dtype=torch.float64)[None]
    return functional.interpolate(unit, size=size, mode=mode)[0].T

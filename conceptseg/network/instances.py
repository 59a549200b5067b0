"""Instances, as detectors such as Mask R-CNN return them -> class maps."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from conceptseg.errors import InputError

LEAST = 1e-4
"""What a class counts for at a pixel that none of its instances covers."""

_ENTRIES = ("labels", "scores", "masks")


def are_instances(output: Any, images: int) -> TypeGuard[Sequence[Mapping[str, Tensor]]]:
    """Whether an output lists, for each image, instances with labels, scores and masks."""
    return (
        isinstance(output, (tuple, list))
        and len(output) == images
        and all(isinstance(one, Mapping) and {*_ENTRIES} <= {*one} for one in output)
    )


def fold_instances(found: Sequence[Mapping[str, Tensor]], classes: int) -> Tensor:
    """Log class maps of instances, shape [n, k, y, x], in [log 1e-4, 0].

    Of each image: labels [q] in 1..k - 1 (0 is the background), scores [q] and masks
    [q, 1, y, x], both in [0, 1]. A class's number at a pixel is the largest score x mask among its
    instances, p_c = max_q s_q m_q(y, x); the background's is 1 - max_c p_c; both at least 1e-4.
    So the prediction is the class of the instance that is surest of the pixel, where it is surer
    than one half, and where one class covers the pixel the softmax of the logs is its p_c.

    Scores and masks are differentiable; which boxes were kept and where they lie is not, so
    gradients take the instances as given. Where no instance is, the map is constant.

    Raises :class:`~conceptseg.errors.InputError` for a label that is no class.
    """
    return torch.stack([_folded(one, classes) for one in found])


def _folded(found: Mapping[str, Tensor], classes: int) -> Tensor:
    labels, scores, masks = (found[name] for name in _ENTRIES)
    values = scores.float()[:, None, None] * masks.float().flatten(0, 1)
    if len(labels) and not 0 < int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"the network returned instances of the labels {int(labels.min())} to "
            f"{int(labels.max())}, but {classes} classes are named, the background as label 0 "
            "among them: name the network's own in model.classes, in its order"
        )
    none = values.new_zeros(masks.shape[-2:])
    maps = [
        own.amax(0) if len(own := values[labels == label]) else none for label in range(1, classes)
    ]
    known = torch.stack(maps)
    return torch.cat([1 - known.amax(0, keepdim=True), known]).clamp(min=LEAST).log()

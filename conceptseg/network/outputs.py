"""Whatever a segmentation network returns -> one tensor of class maps."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.errors import InputError

KEYS = ("out", "logits", "seg_logits", "sem_seg", "output", "pred", "masks", "seg", "main")
"""Entries of dictionaries and output objects that hold class maps, first found first taken."""

QUERIES = ("class_queries_logits", "masks_queries_logits")
"""Entries that Mask2Former and MaskFormer return."""


def class_maps(output: Any, classes: int, images: int) -> Tensor:
    """Class maps [n, k, y, x] of any size, as logits, from what a network returned.

    =====================================  =======================================================
    output                                 taken
    =====================================  =======================================================
    tensor [n, k, y, x]                    itself; [n, y, x] counts as one map
    mapping or output object               query outputs folded (:func:`fold_queries`), else the
                                           first of :data:`KEYS`, else its only class map
    tuple or list                          the class maps with `classes` channels (or one), else
                                           any; of these the finest, of equally fine the first
                                           (deep supervision, logits beside features)
    =====================================  =======================================================

    `images` is n. Raises :class:`~conceptseg.errors.InputError` naming what came when there is no
    class map in it, or when it holds class indices instead of logits.
    """
    found = _find(output, classes, images)
    if found is None:
        raise InputError(
            f"the network returned {describe(output)}, which holds no class maps [n, k, y, x]; "
            "wrap it in a module that returns its logits (source: factory)"
        )
    if not found.dtype.is_floating_point:
        raise InputError(
            f"the network returned {describe(found)}: class indices; logits are needed, so leave "
            "out its argmax"
        )
    return found


def fold_queries(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Log class maps of a query network: log sum_q p_q(c) m_q(y, x), shape [n, k, y, x], <= log q.

    p_q = softmax of `class_logits` [n, q, k + 1] without its last entry, the null class (the
    softmax is taken with it); m_q = sigmoid of `mask_logits` [n, q, y, x]. This is the semantic
    inference of Cheng et al., NeurIPS 2021 (MaskFormer), section 3.4, in log form, so that it
    behaves as a logit; its argmax is theirs. It is taken on the masks' own grid and the log is
    resized afterwards, where the authors resize masks first: 16 times the memory at stride 4.

    The largest class and mask logarithms are factored out, so no sum underflows where one query
    holds both.
    """
    classes = F.log_softmax(class_logits.float(), dim=2)[..., :-1]
    masks = F.logsigmoid(mask_logits.float())
    class_top = classes.amax(1, keepdim=True).detach()
    mask_top = masks.amax(1, keepdim=True).detach()
    total = torch.einsum("nqk,nqyx->nkyx", (classes - class_top).exp(), (masks - mask_top).exp())
    tiny = torch.finfo(total.dtype).tiny
    return (total + tiny).log() + class_top[:, 0, :, None, None] + mask_top


def describe(output: Any, depth: int = 0) -> str:
    """A short name of what a network returned: types, keys and shapes."""
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)} of {str(output.dtype).removeprefix('torch.')}"
    entries = _entries(output)
    if entries is not None:
        listed = ", ".join(map(str, list(entries)[:6])) or "nothing"
        return f"{type(output).__name__} with {listed}"
    if isinstance(output, (tuple, list)) and depth < 2:
        return f"{type(output).__name__} of " + ", ".join(
            describe(o, depth + 1) for o in output[:4]
        )
    return type(output).__name__


def _find(output: Any, classes: int, images: int) -> Tensor | None:
    if isinstance(output, Tensor):
        if output.ndim == 3 and output.shape[0] == images:
            return output.unsqueeze(1)
        return output if output.ndim == 4 else None
    entries = _entries(output)
    if entries is not None:
        return _find_entry(entries, classes, images)
    if isinstance(output, (tuple, list)):
        maps = [found for o in output if (found := _find(o, classes, images)) is not None]
        fitting = [m for m in maps if m.shape[1] in (classes, 1)] or maps
        return max(fitting, key=lambda m: m.shape[2] * m.shape[3], default=None)
    return None


def _find_entry(entries: Mapping[str, Any], classes: int, images: int) -> Tensor | None:
    if all(entries.get(key) is not None for key in QUERIES):
        return fold_queries(*(entries[key] for key in QUERIES))
    for key in KEYS:
        if entries.get(key) is not None:
            return _find(entries[key], classes, images)
    maps = [v for v in entries.values() if isinstance(v, Tensor) and v.ndim == 4]
    return maps[0] if len(maps) == 1 else None


def _entries(output: Any) -> Mapping[str, Any] | None:
    if isinstance(output, Mapping):
        return output
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        named = dict(zip(output._fields, output, strict=True))
        return named if named.keys() & {*KEYS, *QUERIES} else None
    return None

"""Norms and attention with a part of them held constant, so that the rest is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor:
    """softmax(q k^T scale + mask) of torch's scaled dot product attention, without a graph."""
    with torch.no_grad():
        q, k = query.detach(), key.detach()
        if enable_gqa:
            k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attn_mask, float("-inf"))
            else:
                scores = scores + attn_mask
        return scores.softmax(-1)


def frozen_norm(name: str, args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
    """The norm without shift, its deviation fixed at its input's."""
    keys = {
        "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
        "rms_norm": ("input", "normalized_shape", "weight", "eps"),
        "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
        "instance_norm": (
            *("input", "running_mean", "running_var", "weight", "bias", "use_input_stats"),
            *("momentum", "eps"),
        ),
    }[name]
    given = dict(zip(keys, args, strict=False)) | kwargs
    x, weight = given["input"].detach(), given.get("weight")
    eps = given.get("eps")
    eps = (torch.finfo(x.dtype).eps if name == "rms_norm" else 1e-5) if eps is None else eps

    def grouped(v: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        if name in ("layer_norm", "rms_norm"):
            return v, tuple(range(-len(given["normalized_shape"]), 0))
        groups = given["num_groups"] if name == "group_norm" else v.shape[1]
        return v.unflatten(1, (groups, -1)), tuple(range(2, v.dim() + 1))

    seen, axes = grouped(x)
    centred = name != "rms_norm"
    mean = seen.mean(axes, keepdim=True) if centred else torch.zeros_like(seen[..., :1])
    scale = ((seen - mean).square().mean(axes, keepdim=True) + eps).rsqrt()

    def apply(v: Tensor) -> Tensor:
        parts, _ = grouped(v)
        if centred:
            parts = parts - parts.mean(axes, keepdim=True)
        y = (parts * scale).reshape(v.shape)
        if weight is None:
            return y
        if name in ("layer_norm", "rms_norm"):
            return y * weight
        return y * weight.view(1, -1, *[1] * (v.dim() - 2))

    return apply

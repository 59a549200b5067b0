"""Norms and attention with a part of them held constant, so that the rest is linear."""

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


_GIVEN = {
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
    "instance_norm": (
        *("input", "running_mean", "running_var", "weight", "bias", "use_input_stats"),
        *("momentum", "eps"),
    ),
}


class OwnNorm:
    """A call of a norm of the image's own statistics, taken apart.

    y = affine(c (variance(c) + eps)^-1/2) with c = centred(x), in groups of what is normed
    together, over `axes`. `x` is the call's input.
    """

    def __init__(self, name: str, args: Any, kwargs: Any):
        given = dict(zip(_GIVEN[name], args, strict=False)) | kwargs
        self.x: Tensor = given["input"]
        self._weight, self._bias = given.get("weight"), given.get("bias")
        self._last = name in ("layer_norm", "rms_norm")
        self._mean = name != "rms_norm"
        eps = given.get("eps")
        least = torch.finfo(self.x.dtype).eps if name == "rms_norm" else 1e-5
        self.eps: float = least if eps is None else eps
        if self._last:
            self.axes = tuple(range(-len(given["normalized_shape"]), 0))
        else:
            self._groups = given["num_groups"] if name == "group_norm" else self.x.shape[1]
            self.axes = tuple(range(2, self.x.dim() + 1))

    def grouped(self, x: Tensor) -> Tensor:
        return x if self._last else x.unflatten(1, (self._groups, -1))

    def centred(self, x: Tensor) -> Tensor:
        parts = self.grouped(x)
        return parts - parts.mean(self.axes, keepdim=True) if self._mean else parts

    def scale(self) -> Tensor:
        """The inverse of the input's deviation, without a graph."""
        variance = self.centred(self.x.detach()).square().mean(self.axes, keepdim=True)
        return (variance + self.eps).rsqrt()

    def affine(self, parts: Tensor, bias: bool = True) -> Tensor:
        y = parts.reshape(self.x.shape)
        shape = y.shape[self.axes[0] :] if self._last else (1, -1, *[1] * (y.dim() - 2))
        if self._weight is not None:
            y = y * self._weight.view(shape)
        return y + self._bias.view(shape) if bias and self._bias is not None else y


def frozen_norm(name: str, args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
    """The norm without shift, its deviation fixed at its input's."""
    norm = OwnNorm(name, args, kwargs)
    scale = norm.scale()
    return lambda v: norm.affine(norm.centred(v) * scale, bias=False)


def own_part(name: str, args: Any, kwargs: Any) -> Tensor:
    """What each value of the input alone adds to the norm's output, mean and deviation fixed."""
    norm = OwnNorm(name, args, kwargs)
    return norm.affine(norm.grouped(norm.x.detach()) * norm.scale(), bias=False)


def norm_factor(args: Any, kwargs: Any) -> Tensor:
    """The factor of a call of a norm with running statistics, [1, c, ...]."""
    keys = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = dict(zip(keys, args, strict=False)) | kwargs
    factor = (given["running_var"] + given.get("eps", 1e-5)).rsqrt()
    if given.get("weight") is not None:
        factor = factor * given["weight"]
    return factor.detach().view(1, -1, *[1] * (given["input"].dim() - 2))

"""Gradients at the images and at many variants of each, a few at a time, for several targets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target

Reduce = Literal["max_abs", "sum_abs", "sum"]
"""How a gradient's input channels become one number; see :func:`over_channels`."""
Make = Callable[[int, int], Tensor]
"""A range start..stop of variants of i images -> [i, stop - start, c, h, w]."""


def portions(scene: Scene, which: Sequence[int] | None = None) -> Iterator[list[int]]:
    """The images (or those of `which`), at most `batch_size` at a time."""
    rows = list(range(len(scene)) if which is None else which)
    for start in range(0, len(rows), scene.batch_size):
        yield rows[start : start + scene.batch_size]


def gradients(
    scene: Scene, targets: Sequence[Target], at: list[int], count: int, make: Make
) -> Iterator[tuple[int, int, Tensor]]:
    """d T / d image at `count` variants of the images `at`, for t targets from one graph each time.

    Yields start, stop and the gradients [t, i, stop - start, c, h, w], float32 or better. A pass
    takes no more than `batch_size` variants; no variant's gradient depends on how they are cut.
    """
    scores = [_only(scene.fix(target), at) for target in targets]
    step = max(1, scene.batch_size // len(at))
    for start in range(0, count, step):
        stop = min(start + step, count)
        found = scene.input_gradients(make(start, stop).flatten(0, 1), scores)
        found = found.to(torch.promote_types(found.dtype, torch.float32))
        yield start, stop, found.unflatten(1, (len(at), stop - start))


def at_images(scene: Scene, targets: Sequence[Target]) -> Tensor:
    """d T / d image at the images themselves, [t, n, c, h, w], float32 or better."""
    found = scene.image_gradients(targets)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _only(score: FixedTarget, at: list[int]) -> FixedTarget:
    return replace(score, mask=score.mask[at])


def over_channels(gradient: Tensor, how: Reduce) -> Tensor:
    """[..., c, h, w] -> [..., h, w]: the largest or summed modulus, or the signed sum."""
    if how == "sum":
        return gradient.sum(-3)
    moduli = gradient.abs()
    return moduli.amax(-3) if how == "max_abs" else moduli.sum(-3)


class Running:
    """Mean and variance (1 / count) of tensors that come a few at a time."""

    mean: Tensor
    _squares: Tensor

    def __init__(self) -> None:
        self.count = 0

    def add(self, values: Tensor, dim: int) -> None:
        """Take in the slices of `values` along `dim`."""
        m = values.shape[dim]
        mean = values.mean(dim)
        squares = (values - mean.unsqueeze(dim)).square().sum(dim)
        if not self.count:
            self.count, self.mean, self._squares = m, mean, squares
            return
        total = self.count + m
        shift = mean - self.mean
        self.mean = self.mean + shift * (m / total)
        self._squares = self._squares + squares + shift.square() * (self.count * m / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        return self._squares / self.count

"""Paths from an image, in steps of one length: along a score's gradient, or at random.

    x_{j+1} = clip(x_j + alpha d_j),    |alpha d_j| = step sqrt(c h w),

with d_j the gradient of score - tv TV(x_j) in one of two parametrisations. `pixel`: the gradient in
x. `phase`: the gradient in the phases of the image's own waves, whose amplitudes stay (but for the
clipping to [0, 1]), so that no frequency is added that the image does not have; the step in phases
is scaled so that pixels change by the same length. A path ends when its region has flipped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from conceptseg.study.shared.spectrum import inverse_frequency, odd

Walk = Literal["pixel", "phase"]
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Path:
    """Of n rows: `images` [p + 1, n, c, h, w] at p + 1 points that divide each row's path evenly
    (the first is the start), `length` [n] the root mean square change per pixel summed over steps,
    `ended` [n] the number of steps. A row whose score or gradient is not finite ends there, and its
    length is nan.
    """

    images: Tensor
    length: np.ndarray
    ended: np.ndarray

    def with_rows(self, rows: np.ndarray, other: "Path") -> "Path":
        """The same, but of `rows` [m] the paths of another, in that order."""
        images, length, ended = self.images.clone(), self.length.copy(), self.ended.copy()
        images[:, rows], length[rows], ended[rows] = other.images, other.length, other.ended
        return Path(images, length, ended)

    def at(self, rows: np.ndarray) -> "Path":
        """The paths of some rows."""
        return Path(self.images[:, rows], self.length[rows], self.ended[rows])


Go = Callable[[np.ndarray, np.ndarray], Path]
"""Rows [m] and the step of each -> their paths."""
ROUNDS = 5
"""Times that a path is taken again, each in steps at most half as long."""


def refined(go: Go, step: np.ndarray, limit: int, least: int) -> tuple[Path, np.ndarray]:
    """Paths of n rows of at least `least` steps each where they flip, and the steps' lengths [n].

    Rows that flip in fewer steps than that go again in smaller ones, so small that the same way
    takes twice as many. One that does not flip so within `limit` steps keeps its earlier path.
    """
    step = step.copy()
    path = go(np.arange(len(step)), step)
    open_ = np.ones(len(step), dtype=bool)
    for _ in range(ROUNDS):
        rows = np.flatnonzero(open_ & (path.ended > 0) & (path.ended < least))
        if not len(rows):
            break
        finer = step[rows] * path.ended[rows] / (2 * least)
        again = go(rows, finer)
        flips = again.ended < limit
        open_[rows[~flips]] = False
        step[rows[flips]] = finer[flips]
        path = path.with_rows(rows[flips], again.at(flips))
    return path, step


def walk(
    forward: Callable[[Tensor], Tensor],
    score: Score,
    share: Score,
    images: Tensor,
    how: Walk,
    *,
    limits: np.ndarray,
    step: float | np.ndarray,
    tv: float,
    flip: float,
    points: int,
) -> Path:
    """Paths from images [n, c, h, w]; `forward` gives logits, `score` [n] is raised, and `share`
    [n] says how much of the region has flipped. `limits` [n] are most steps, `step` the root mean
    square change of each, of all rows or by row [n]. Rows do not interact.
    """
    state = _Pixels(images.detach()) if how == "pixel" else _Phases(images.detach())
    stride = torch.as_tensor(step, dtype=images.dtype, device=images.device).expand(len(images))
    most = torch.as_tensor(limits, device=images.device)
    length = torch.zeros(len(images), device=images.device)
    ended = most.clone()
    lost = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    kept = []
    for number in range(int(most.max()) + 1):
        with torch.enable_grad():
            free = state.value.detach().requires_grad_()
            shown = state.image(free)
            logits = forward(shown)
            value = score(logits) - tv * variation(shown)
            (gradient,) = torch.autograd.grad(value.sum(), free)
        part = share(logits.detach())
        before = shown.detach()
        kept.append(before.cpu())  # all of them, since where a path ends is not known yet
        finite = value.detach().isfinite() & gradient.isfinite().flatten(1).all(1)
        lost |= ~finite & (number < ended)
        ended = torch.where(((part >= flip) | lost) & (number < ended), number, ended)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)  # other rows go on
        done = ended <= number
        if bool(done.all()):
            break
        after = state.move(gradient, stride, before, done)
        length = length + (after - before).square().mean((1, 2, 3)).sqrt()
    steps = ended.cpu().numpy().astype(np.int64)
    at = np.rint(np.arange(points + 1)[:, None] * steps / points).astype(np.int64)
    chosen = torch.stack([torch.stack([kept[t][r] for r, t in enumerate(ts)]) for ts in at])
    length = length.masked_fill(lost, torch.nan)
    return Path(chosen.to(images.device), length.cpu().numpy().astype(np.float64), steps)


class _Pixels:
    """Images as they are."""

    def __init__(self, images: Tensor):
        self.value = images

    def image(self, value: Tensor) -> Tensor:
        return value

    def move(self, gradient: Tensor, step: Tensor, before: Tensor, done: Tensor) -> Tensor:
        moved = (before + scaled(gradient, step)).clamp(0, 1)
        self.value = torch.where(done[:, None, None, None], before, moved)
        return self.value


class _Phases:
    """Images as their own amplitudes and phases; `value` are the phases now."""

    def __init__(self, images: Tensor):
        self.size = (int(images.shape[-2]), int(images.shape[-1]))
        spectrum = torch.fft.rfft2(images)
        self.amplitude = spectrum.abs()
        self.value = torch.angle(spectrum)

    def image(self, phase: Tensor) -> Tensor:
        spectrum = torch.polar(self.amplitude, odd(phase, self.size[1]))
        return torch.fft.irfft2(spectrum, s=self.size).clamp(0, 1)

    def move(self, gradient: Tensor, step: Tensor, before: Tensor, done: Tensor) -> Tensor:
        """Turn the phases so that pixels change by about `step`; the images that follow."""
        # Along the gradient by a trial angle, then by as much more or less as pixels ask for.
        largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-30)
        trial = 0.01 * gradient / largest
        for _ in range(2):
            moved = (self.image(self.value + trial) - before).square().mean((1, 2, 3)).sqrt()
            trial = trial * (step / moved.clamp(min=1e-9))[:, None, None, None]
            bound = trial.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-30)
            trial = trial * (torch.pi / 2 / bound).clamp(max=1)
        still = done[:, None, None, None]
        self.value = torch.where(still, self.value, self.value + trial)
        return torch.where(still, before, self.image(self.value))


def scaled(gradient: Tensor, step: Tensor) -> Tensor:
    """The gradient at root mean square `step` [n] per pixel; zero stays zero."""
    size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    return step[:, None, None, None] * gradient / size.clamp(min=1e-30)


def variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, [n]."""
    across, down = images.diff(dim=-1).abs(), images.diff(dim=-2).abs()
    return across.mean((1, 2, 3)) + down.mean((1, 2, 3))


def smooth_changes(images: Tensor, length: np.ndarray, points: int, key: list[int]) -> Tensor:
    """Null paths [p + 1, n, c, h, w]: straight lines into random smooth changes of these lengths.

    Noise whose amplitude falls as 1 / frequency, as that of natural images does.
    """
    n, c, h, w = images.shape
    noise = np.random.default_rng(key).normal(size=(n, c, h, w))
    soft = np.fft.irfft2(np.fft.rfft2(noise) * inverse_frequency(h, w), s=(h, w))
    soft /= np.sqrt((soft**2).mean((1, 2, 3), keepdims=True))
    change = torch.as_tensor(soft * length[:, None, None, None], dtype=images.dtype)
    parts = torch.linspace(0, 1, points, dtype=images.dtype)[:, None, None, None, None]
    return (images + parts.to(images.device) * change.to(images.device)).clamp(0, 1)

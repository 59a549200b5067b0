"""What a network's batch norms kept of its training, beside what they are given now."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from conceptseg.network.contract import Enough, Network

_NOTHING = 1e-12
"""Largest variance of a norm in which nothing ever happened."""
_DEAD = 1e-8
"""A channel's variance, as a share of the norm's largest, up to which it is dead."""


@dataclass(frozen=True)
class Given:
    """What a norm is given: of each image and channel mean and variance over pixels [n, u].

    Beside them those of training, [u]. Dead channels are left out.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray
    kept_mean: np.ndarray
    kept_variance: np.ndarray

    def divergence(self) -> np.ndarray:
        """Of each image from training [n], in 0..1: see :func:`squared_hellinger`."""
        kept = self.kept_mean, self.kept_variance
        return np.asarray(squared_hellinger(self.mean, self.variance, *kept).mean(-1))

    def pooled(self) -> float:
        """Of all images together from training, in 0..1."""
        mean, variance = self.mean.mean(0), self.variance.mean(0) + self.mean.var(0)
        kept = self.kept_mean, self.kept_variance
        return float(squared_hellinger(mean, variance, *kept).mean())

    def pooled_without(self) -> np.ndarray:
        """Of all images but each together from training [n]; nan of one image."""
        n = len(self.mean)
        if n < 2:
            return np.full(n, np.nan)
        rest = [np.arange(n) != one for one in range(n)]
        parts = [replace(self, mean=self.mean[k], variance=self.variance[k]) for k in rest]
        return np.array([part.pooled() for part in parts])


def squared_hellinger(
    mean: np.ndarray, variance: np.ndarray, other_mean: np.ndarray, other_variance: np.ndarray
) -> np.ndarray:
    """Squared Hellinger distance of two normal distributions, element by element, in 0..1.

    H^2 = 1 - sqrt(2 s t / (s^2 + t^2)) exp(-(m - l)^2 / (4 (s^2 + t^2))) for means m, l and
    standard deviations s, t. Symmetric, and bounded, so that no channel outweighs all others.
    """
    with np.errstate(all="ignore"):  # numbers that overflow are far from any
        total = variance + other_variance
        overlap = np.sqrt(2 * np.sqrt(variance * other_variance) / total)
        overlap = overlap * np.exp(-((mean - other_mean) ** 2) / (4 * total))
    return np.asarray(1 - np.nan_to_num(overlap))


def norms_with_statistics(module: nn.Module) -> dict[str, nn.Module]:
    """Batch norms, frozen ones too, that hold other statistics than those they are made with."""
    found: dict[str, nn.Module] = {}
    for name, norm in module.named_modules():
        mean, variance = (getattr(norm, key, None) for key in ("running_mean", "running_var"))
        if isinstance(norm, torch.jit.ScriptModule):
            continue  # what runs inside is not to be seen
        if isinstance(mean, Tensor) and isinstance(variance, Tensor) and mean.ndim == 1:
            made = not bool(mean.any()) and bool((variance == 1).all())
            if not made and float(variance.max()) > _NOTHING:
                found[name] = norm
    return found


@contextmanager
def watched(
    model: Network, most: int | None = None, among: Collection[str] | None = None
) -> Iterator[list[Given]]:
    """What the norms are given by the pass that is made within, in the order in which they run.

    The first call of each norm counts; of all, or of those whose names are `among` them. After
    `most` norms the pass ends. No hook is left.
    """
    seen: dict[str, Given] = {}
    found: list[Given] = []

    def hook(name: str, norm: nn.Module) -> Any:
        def look(_: nn.Module, args: tuple[Any, ...]) -> None:
            if name in seen or not args or not isinstance(args[0], Tensor) or args[0].ndim != 4:
                return
            given = _given(name, norm, args[0])
            if given is not None:
                seen[name] = given
                found.append(given)
                if len(found) == most:
                    raise Enough

        return look

    with ExitStack() as stack:
        for name, norm in norms_with_statistics(model.module).items():
            if among is not None and name not in among:
                continue
            stack.callback(norm.register_forward_pre_hook(hook(name, norm)).remove)
        try:
            yield found
        except Enough:
            return


def _given(name: str, norm: Any, x: Tensor) -> Given | None:
    if x.shape[1] != len(norm.running_mean):
        return None
    values = x.detach().float()
    mean = values.mean((2, 3))
    variance = (values - mean[..., None, None]).square_().mean((2, 3))  # as var_mean, but faster
    kept = norm.running_var.double().cpu().numpy()
    alive = kept > _DEAD * kept.max()
    return Given(
        name,
        mean.double().cpu().numpy()[:, alive],
        variance.double().cpu().numpy()[:, alive],
        norm.running_mean.double().cpu().numpy()[alive],
        kept[alive],
    )

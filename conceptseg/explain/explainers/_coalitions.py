"""Shapley values by regression on pairs of coalitions (KernelSHAP).

A game gives each coalition S of k cells a value v(S). Its Shapley values phi solve

    min sum_S w(S) (v(S) - v(none) - sum_{j in S} phi_j)^2   with   sum phi = v(all) - v(none),

with w(S) = (k - 1) / (C(k, |S|) |S| (k - |S|)) over all S but none and all (Lundberg and Lee 2017,
theorem 2). Where each S comes with its complement S', the squares of a pair are, up to a factor
and a constant, that of the difference v(S) - v(S') from sum_j s_j phi_j, with s_j = 1 for cells of
S and -1 for the others: what the cells do in even numbers together cancels (paired
sampling, Covert and Lee 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import torch
from torch import Tensor

from conceptseg.errors import InputError

EXACT = 12
"""Up to so many cells all coalitions are taken."""


@dataclass(frozen=True)
class Coalitions:
    """p pairs of coalitions of k cells, one of each pair in `members`, bool [p, k].

    `weights` [p], float64, sum to 1. The last `drawn` pairs are random, the others are all of
    their sizes.
    """

    members: Tensor
    weights: Tensor
    drawn: int

    @property
    def variants(self) -> int:
        """How many coalitions have to be played: none, and both of each pair."""
        return 1 + 2 * len(self.members)

    def to(self, device: torch.device) -> Coalitions:
        return Coalitions(self.members.to(device), self.weights.to(device), self.drawn)

    def played(self, start: int, stop: int) -> Tensor:
        """Which cells variants start..stop keep, bool [r, k]: none, then pair after pair.

        Beyond the last variant comes none again.
        """
        at = torch.arange(start, stop, device=self.members.device)
        known = (at > 0) & (at < self.variants)
        pair = ((at - 1) // 2).clamp(0, max(0, len(self.members) - 1))
        if not len(self.members):
            return self.members.new_zeros(len(at), self.members.shape[1])
        second = (at % 2 == 0)[:, None]
        return (self.members[pair] ^ second) & known[:, None]

    def shapley(self, values: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Shapley values of m games, and their standard errors: both float64 [k, m].

        `values` [m, variants] of the variants played, `whole` [m] of all cells together. One
        regression serves all games. The values sum to v(all) - v(none). The errors are those of
        drawing the random pairs: 0 if there are none, since the values are exact then.
        """
        values, whole = values.double(), whole.double()
        gains, total = (values[:, 1::2] - values[:, 2::2]).T, whole - values[:, 0]
        signs = 2.0 * self.members.double() - 1
        weighed = self.weights[:, None] * signs
        # Adding the constraint's own square changes no solution that obeys it, and makes the
        # matrix regular where the differences leave the sum open.
        factor = torch.linalg.cholesky(weighed.T @ signs + 1)
        free = torch.cholesky_solve(weighed.T @ gains + total, factor)
        along = torch.cholesky_solve(signs.new_ones(signs.shape[1], 1), factor)
        found = free + along * (total - free.sum(0)) / along.sum()
        if not self.drawn:
            return found, torch.zeros_like(found)
        inverse = torch.cholesky_inverse(factor) - along @ along.T / along.sum()
        reach = weighed[-self.drawn :] @ inverse
        missed = (gains - signs @ found)[-self.drawn :]
        return found, _standard_error(reach, missed, signs[-self.drawn :])


def _standard_error(reach: Tensor, missed: Tensor, signs: Tensor) -> Tensor:
    """Standard error [k, m] from what each of d random pairs contributes to the values.

    A pair moves the values by `reach` [d, k] times what the regression misses of it, [d, m], made
    larger by the pair's own pull on the regression (the jackknife's approximation, HC3 of
    MacKinnon and White 1985).
    """
    count = len(reach)
    missed = missed / (1 - (reach * signs).sum(1, keepdim=True))
    mean = reach.T @ missed / count
    variance = reach.square().T @ missed.square() - count * mean.square()
    return (variance * count / (count - 1)).clamp(min=0).sqrt()


def design(cells: int, passes: int, seed: int) -> Coalitions:
    """Which coalitions of so many cells are played, in about so many passes.

    All of them for up to 12 cells. Otherwise all of the smallest sizes (and their complements), as
    long as a random draw would be expected to hold each of those more than once; the rest of the
    pairs is drawn by the weight that is left, sizes evenly and members at random.

    Raises InputError for fewer than 4 passes per cell.
    """
    check_passes(cells, passes)
    sizes = list(range(1, cells // 2 + 1))
    pairs = {s: comb(cells, s) // (2 if 2 * s == cells else 1) for s in sizes}
    mass = {s: pairs[s] * (cells - 1) / (comb(cells, s) * s * (cells - s)) for s in sizes}
    left = sum(pairs.values()) if cells <= EXACT else passes // 2
    members, weights = [torch.zeros(0, cells, dtype=torch.bool)], [_alike(0, 0.0)]
    whole = sum(mass.values())
    while sizes and (
        sizes[0] == 1 or left * mass[sizes[0]] >= pairs[sizes[0]] * sum(mass[s] for s in sizes)
    ):
        size = sizes.pop(0)
        members.append(_all_of_size(cells, size, pairs[size]))
        weights.append(_alike(pairs[size], mass[size] / whole))
        left -= pairs[size]
    drawn = left if sizes else 0
    if drawn:
        rest = torch.tensor([mass[s] for s in sizes], dtype=torch.float64)
        members.append(_drawn(cells, torch.tensor(sizes), rest, drawn, seed))
        weights.append(_alike(drawn, float(rest.sum()) / whole))
    return Coalitions(torch.cat(members), torch.cat(weights), drawn)


def check_passes(cells: int, passes: int) -> None:
    """Raise InputError for fewer than 4 passes per cell, where not all coalitions are played."""
    if cells > EXACT and passes < 4 * cells:
        raise InputError(
            f"{passes} samples are too few for {cells} cells; take at least {4 * cells}, or fewer "
            "cells"
        )


def _alike(count: int, mass: float) -> Tensor:
    return torch.full((count,), mass / max(count, 1), dtype=torch.float64)


def _all_of_size(cells: int, size: int, pairs: int) -> Tensor:
    """One of each pair of coalitions of a size and their complements, bool [pairs, cells].

    Of coalitions that are half of all cells, those that hold the first: combinations come in
    order, so they are the first half.
    """
    chosen = torch.tensor(list(combinations(range(cells), size)))[:pairs]
    return torch.zeros(pairs, cells, dtype=torch.bool).scatter_(1, chosen, True)


def _drawn(cells: int, sizes: Tensor, mass: Tensor, count: int, seed: int) -> Tensor:
    """Random coalitions, bool [count, cells]: sizes in proportion to their mass, evenly spread."""
    random = torch.Generator().manual_seed(seed)
    start = torch.rand(1, generator=random, dtype=torch.float64)
    at = (torch.arange(count, dtype=torch.float64) + start) / count * mass.sum()
    size = sizes[torch.searchsorted(mass.cumsum(0), at).clamp(max=len(sizes) - 1)]
    order = torch.rand(count, cells, generator=random, dtype=torch.float64).argsort(1)
    return order < size[:, None]

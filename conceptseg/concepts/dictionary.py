"""Dictionaries of a layer: atoms, of which a few, never negative, add up to each position."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from conceptseg.concepts.contract import ConceptFinder, Concepts
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

STABLE = 0.8
"""Mean cosine of atoms with their partners in other fits from which a dictionary is stable."""
SWEEPS = 40
"""Sweeps over the atoms by which codes are found. Their number is fixed, so that a row's code does
not depend on the rows beside it. Of 64 atoms whose cosines are 0.8, sums of a fifth of them were
left with 0.0006 of their squared length more than the least, of 16 with 0.0001."""
TINY = 1e-12


@dataclass(frozen=True)
class Dictionary:
    """Atoms [q, d], each of length 1, float64, of rows that are about `codes @ atoms`.

    `codes` of rows [m, d] are [m, q], at least 0, and of each row alone. Here they are those of
    least squared error (non-negative least squares, by coordinate descent).
    """

    atoms: np.ndarray

    def codes(self, rows: Tensor) -> Tensor:
        """In the rows' type and on their device."""
        import torch

        atoms = torch.as_tensor(self.atoms).to(rows)
        products, gram = (rows @ atoms.T).T.contiguous(), atoms @ atoms.T
        codes = (products / gram.diagonal()[:, None].clamp(min=TINY)).clamp(min=0) / len(atoms)
        for _ in range(SWEEPS):
            descend(codes, products, gram)
        return codes.T

    def rebuilt(self, rows: Tensor) -> Tensor:
        """What the atoms make of rows, [m, d]."""
        import torch

        return self.codes(rows) @ torch.as_tensor(self.atoms).to(rows)

    def error(self, rows: np.ndarray) -> float:
        """Share of the rows' squared length that the atoms leave, at least 0."""
        import torch

        given = torch.as_tensor(np.asarray(rows, dtype=np.float64))
        left = given - self.rebuilt(given)
        return float((left**2).sum() / (given**2).sum().clamp(min=TINY))


def descend(codes: Tensor, products: Tensor, gram: Tensor) -> None:
    """One sweep of coordinate descent over non-negative codes [q, m], in place.

    `products` [q, m] are the rows' with the atoms, `gram` [q, q] the atoms' with each other.

    Source: Cichocki & Phan 2009, fast HALS, eq. 23.
    """
    for k in range(len(codes)):
        step = (products[k] - gram[k] @ codes) / gram[k, k].clamp(min=TINY)
        codes[k].add_(step).clamp_(min=0)


class DictionaryFinder(ConceptFinder):
    """A finder whose concepts are atoms that add up to the embeddings.

    As a finder of concepts it fits each number of atoms to several bootstrap draws of the images,
    takes the largest number whose atoms are found again (mean cosine with their partners of at
    least 0.8; else the one of the best), and gives each row to the atom of its largest code.
    """

    counts: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (10, 15, 25), min_length=1, description="Numbers of atoms to try."
    )
    draws: int = Field(3, ge=2, description="Bootstrap draws of images compared at each number.")
    max_rows: int = Field(20_000, ge=100, description="Rows that a fit sees, drawn evenly.")

    @abstractmethod
    def learn(self, rows: np.ndarray, count: int, seed: int) -> Dictionary:
        """At most `count` atoms of rows [m, d], of which there are at least 2 `count`."""

    def allowed(self, rows: int, units: int, of: str = "segments") -> tuple[int, ...]:
        """The numbers of atoms that so many rows of so many units allow; InputError if none."""
        counts = tuple(k for k in self.counts if 2 * k <= rows)
        if not counts:
            raise InputError(
                f"{rows} {of} are too few for {min(self.counts)} concepts: "
                "give more images, or fewer in counts"
            )
        return counts

    def fit(self, embeddings: np.ndarray, images: np.ndarray, seed: int) -> Concepts:
        import torch
        from threadpoolctl import threadpool_limits

        rows = np.asarray(embeddings, dtype=np.float64)
        with threadpool_limits(1):
            tried = [(self._drawn(rows, images, k, seed), k) for k in self.allowed(*rows.shape)]
            scored = [(each, k, np.concatenate(again(each))) for each, k in tried]
            best = max(scored, key=lambda one: (float(one[2].mean()) >= STABLE, _rank(one)))
            learnt = self.learn(self.some(rows), best[1], seed)
            stability = again([learnt, *best[0]], first_only=True)
            given = torch.as_tensor(rows)
            codes = learnt.codes(given).numpy()
        members = np.where(codes.max(1) > 0, codes.argmax(1), -1).astype(np.int64)
        atom = learnt.atoms[np.maximum(members, 0)]
        length = np.maximum(np.linalg.norm(rows, axis=1), TINY)
        distance = np.maximum(1.0 - (rows * atom).sum(1) / length, 0.0)
        choices = tuple(
            {
                "concepts": float(k),
                "stability": float(cosines.mean()),
                "standard_error": float(cosines.std(ddof=1) / np.sqrt(len(cosines))),
            }
            for _, k, cosines in scored
        )
        found = np.clip(np.mean(stability, axis=0), 0.0, 1.0)
        return Concepts(learnt.atoms, members, distance, found, choices)

    def _drawn(
        self, rows: np.ndarray, images: np.ndarray, count: int, seed: int
    ) -> list[Dictionary]:
        """A dictionary of each bootstrap draw of the images."""
        names, image = np.unique(images, return_inverse=True)
        learnt = []
        for draw in range(self.draws):
            rng = np.random.default_rng([seed, count, draw])
            times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
            learnt.append(self.learn(self.some(np.repeat(rows, times[image], 0)), count, seed))
        return learnt

    def some(self, rows: np.ndarray) -> np.ndarray:
        """At most `max_rows` of rows [m, u], evenly drawn."""
        return rows[:: max(1, -(-len(rows) // self.max_rows))]


def _rank(scored: tuple[list[Dictionary], int, np.ndarray]) -> float:
    """Of stable numbers of atoms the largest, of others the most stable."""
    mean = float(scored[2].mean())
    return float(scored[1]) if mean >= STABLE else mean


def again(each: Sequence[Dictionary], *, first_only: bool = False) -> list[np.ndarray]:
    """How surely atoms are found again: of each pair of dictionaries the cosines of partners.

    They are those of the first one's atoms [q], 0 for an atom without a partner; `first_only`
    compares the first with all others alone.
    """
    pairs = [(a, b) for a, b in combinations(range(len(each)), 2) if not first_only or a == 0]
    return [matched(each[a].atoms, each[b].atoms)[1] for a, b in pairs]


def matched(atoms: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each atom's partner among others, one to one by the greatest total cosine.

    Returns partners [q], -1 for none, and cosines [q], 0 without a partner.
    """
    from scipy.optimize import linear_sum_assignment

    a, b = (
        one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), TINY)
        for one in (atoms, others)
    )
    cosine = a @ b.T
    rows, columns = linear_sum_assignment(-cosine)
    partner, found = np.full(len(a), -1), np.zeros(len(a))
    partner[rows], found[rows] = columns, cosine[rows, columns]
    return partner, found

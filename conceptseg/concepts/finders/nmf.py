"""Concepts as factors of which embeddings are sums: NMF, or semi-NMF where signs differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.concepts.dictionary import TINY, Dictionary, DictionaryFinder, descend

if TYPE_CHECKING:
    from torch import Tensor

ALL_BUT_ZERO = 1e-6
"""Share of the largest value below which a negative one is a rounding error."""
WELL = 0.01
"""Share of the rows' squared length left, below which the tolerance is a share of this much."""
STARTS = 4000
"""Rows that signed factors are started from by k-means."""


@technique(
    family="concept", source="Fel et al. 2023, CRAFT (arXiv 2211.10154); Ding et al. 2010 (signed)"
)
class Nmf(DictionaryFinder):
    """Non-negative matrix factorisation, X about U D with U >= 0, and D >= 0 where X is.

    Least ||X - U D||^2 by coordinate descent (fast HALS), started from the singular vectors
    (NNDSVDa, as scikit-learn does). If some embeddings are negative, as behind layers without
    ReLU, atoms may have any sign (semi-NMF, started from k-means). Rows come into it through
    U'U [q, q] and U'X [q, d] alone once their codes are known.

    Source: Cichocki & Phan 2009; Boutsidis & Gallopoulos 2008; Ding, Li & Jordan 2010, eq. 4.
    """

    iterations: int = Field(200, ge=1, description="At most this many rounds.")
    tolerance: float = Field(
        1e-4, gt=0, description="A round that lowers the error by a smaller share is the last."
    )

    def learn(self, rows: np.ndarray, count: int, seed: int) -> Dictionary:
        import torch

        given = torch.as_tensor(np.asarray(rows, dtype=np.float64))
        signed = float(given.min()) < -ALL_BUT_ZERO * float(given.abs().max())
        if not signed:
            given = given.clamp(min=0)
        codes, atoms = (_by_clusters if signed else _by_singular_vectors)(given, count, seed)
        square, before = float((given**2).sum()), float("inf")
        for _ in range(self.iterations):
            gram, products = atoms @ atoms.T, atoms @ given.T
            descend(codes, products, gram)
            own, joint = codes @ codes.T, codes @ given
            left = square - 2 * float((joint * atoms).sum()) + float((own * gram).sum())
            if before - left <= self.tolerance * max(left, WELL * square):
                break
            before = left
            if signed:
                ridge = TINY * own.diagonal().max().clamp(min=TINY)
                atoms = torch.linalg.solve(own + ridge * torch.eye(len(own)).to(own), joint)
            else:
                descend(atoms, joint, own)
        length = atoms.norm(dim=1, keepdim=True)
        kept = length[:, 0] > TINY * length.max()
        return Dictionary((atoms / length.clamp(min=TINY))[kept].numpy())


def _by_singular_vectors(rows: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Codes [q, m] and atoms [q, d] from the positive parts of singular vectors, zeros filled.

    Those beyond the rows' rank are drawn, evenly in [0, 2 mean], by the seed.
    """
    import torch

    values, right = torch.linalg.eigh(rows.T @ rows)
    order = torch.arange(len(values) - 1, -1, -1)[:count]
    singular, right = values[order].clamp(min=0).sqrt(), right[:, order].T
    known = int((singular > 1e-8 * singular.max().clamp(min=TINY)).sum())
    left = (right[:known] @ rows.T) / singular[:known, None].clamp(min=TINY)
    mean = float(rows.mean())
    scale = (mean / count) ** 0.5 if mean > 0 else 1.0
    drawn = np.random.default_rng([seed, count]).random((count, sum(rows.shape)))
    filled = 2 * scale * torch.as_tensor(drawn).to(rows)
    codes, atoms = filled[:, : len(rows)].clone(), filled[:, len(rows) :].clone()
    for k in range(known):
        u, v = left[k], right[k]
        up, vp, un, vn = u.clamp(min=0), v.clamp(min=0), (-u).clamp(min=0), (-v).clamp(min=0)
        positive, negative = up.norm() * vp.norm(), un.norm() * vn.norm()
        one, other = (up, vp) if positive >= negative else (un, vn)
        size = (singular[k] * torch.maximum(positive, negative)).sqrt()
        codes[k] = size * one / one.norm().clamp(min=TINY)
        atoms[k] = size * other / other.norm().clamp(min=TINY)
    codes[codes < TINY], atoms[atoms < TINY] = mean, mean
    return codes, atoms


def _by_clusters(rows: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Codes [q, m] of 1 for a row's cluster and 0.2 elsewhere, as published, and centres [q, d]."""
    import torch
    from sklearn.cluster import KMeans

    some = rows[:: max(1, -(-len(rows) // STARTS))].numpy()
    length = np.maximum(np.linalg.norm(some, axis=1, keepdims=True), TINY)
    state = int(np.random.SeedSequence([seed, count]).generate_state(1)[0])
    model = KMeans(count, n_init=3, max_iter=50, random_state=state).fit(some / length)
    unit = rows / rows.norm(dim=1, keepdim=True).clamp(min=TINY)
    atoms = torch.as_tensor(model.cluster_centers_).to(rows)
    members = torch.cdist(unit, atoms).argmin(1)
    codes = torch.full((count, len(rows)), 0.2, dtype=rows.dtype)
    codes[members, torch.arange(len(rows))] += rows.norm(dim=1)
    return codes, atoms

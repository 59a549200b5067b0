"""Concepts as atoms of a sparse autoencoder whose decoder is made of the data themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.concepts.dictionary import TINY, Dictionary, DictionaryFinder
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WIDEST = 4
"""Atoms per unit at most: wider dictionaries split concepts, and align less with what is seen."""
ENDS_PER_ATOM, MOST_ENDS, STARTS = 2, 512, 8000
SETTLED = 100
"""Last steps, over which the threshold is a mean."""
OWN = 0.95
"""Share of an atom, at the start, that is one anchor: with less of it all begin near the mean."""


@dataclass(frozen=True)
class Encoded(Dictionary):
    """Codes by one linear map: ReLU(rows W' + b), those below a threshold 0."""

    weights: np.ndarray
    bias: np.ndarray
    threshold: float

    def codes(self, rows: Tensor) -> Tensor:
        import torch

        weights, bias = (torch.as_tensor(one).to(rows) for one in (self.weights, self.bias))
        codes = torch.relu(rows @ weights.T + bias)
        return codes * (codes > self.threshold)


@technique(
    family="concept",
    source="Bussmann et al. 2024 (arXiv 2412.06410); Fel et al. 2025 (arXiv 2502.12892)",
)
class BatchTopKSae(DictionaryFinder):
    """A BatchTopK sparse autoencoder with archetypal atoms, at most 4 for each unit.

    Of a batch of b rows the b `active` largest codes are kept, so that a row with more in it may
    take more; afterwards codes below the mean smallest one that was kept are 0. Each atom is a
    convex combination of anchors, which are centres and extremes of the rows' directions, scaled
    to length 1: it cannot leave what the layer really does, and seeds find the same. Atoms that no
    row takes are left out. There is no further bias: a layer's mean is a row like others.
    """

    active: int = Field(4, ge=1, description="Codes that are not 0, per row, on average.")
    steps: int = Field(1500, ge=1, description="Steps of training.")
    batch: int = Field(512, ge=16, description="Rows of a step.")
    rate: float = Field(3e-3, gt=0, description="Adam's learning rate.")

    def allowed(self, rows: int, units: int, of: str = "segments") -> tuple[int, ...]:
        wide = [k for k in self.counts if k > WIDEST * units]
        if wide:
            raise InputError(
                f"counts: {max(wide)} atoms are more than {WIDEST} for each of the {units} "
                f"units; take at most {WIDEST * units}"
            )
        return super().allowed(rows, units, of)

    def learn(self, rows: np.ndarray, count: int, seed: int) -> Dictionary:
        import torch

        given = torch.as_tensor(np.asarray(rows, dtype=np.float32))
        scale = float((given**2).sum(1).mean().sqrt()) or 1.0
        given = given / scale
        anchors = _anchors(given, count, seed)
        generator = torch.Generator().manual_seed(seed)
        mix = torch.zeros(count, len(anchors))
        start = float(np.log(OWN / (1 - OWN) * len(anchors)))
        mix[torch.arange(count), torch.arange(count) % len(anchors)] = start
        mix.requires_grad_(True)
        # Atoms are alike, so that codes by each alone would add up to several times the row.
        weights = (_atoms(mix, anchors).detach() / self.active).requires_grad_(True)
        bias = torch.zeros(count, requires_grad=True)
        optimiser = torch.optim.Adam([mix, weights, bias], lr=self.rate)
        decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, self.steps)
        lowest = list[float]()
        for _ in range(self.steps):
            some = given[torch.randint(len(given), (self.batch,), generator=generator)]
            codes, least = _largest(some @ weights.T + bias, self.active)
            loss = ((codes @ _atoms(mix, anchors) - some) ** 2).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decay.step()
            lowest.append(least)
        with torch.no_grad():
            atoms = _atoms(mix, anchors)
            threshold = float(np.mean(lowest[-SETTLED:]))
            taken = (torch.relu(given @ weights.T + bias) > threshold).any(0)
            if not taken.any():
                taken[:] = True
            parts = [one[taken].double().numpy() for one in (atoms, weights, bias)]
        unit = parts[0] / np.maximum(np.linalg.norm(parts[0], axis=1, keepdims=True), TINY)
        return Encoded(unit, parts[1], parts[2] * scale, threshold * scale)


def _atoms(mix: Tensor, anchors: Tensor) -> Tensor:
    """Convex combinations of anchors, of length 1."""
    atoms = mix.softmax(1) @ anchors
    return atoms / atoms.norm(dim=1, keepdim=True).clamp(min=TINY)


def _largest(codes: Tensor, active: int) -> tuple[Tensor, float]:
    """Of codes [b, q] the b `active` largest positive ones, all others 0; and the least kept."""
    codes = codes.relu()
    kept = min(active * len(codes), codes.numel())
    least = float(codes.detach().flatten().topk(kept).values[-1])
    return codes * (codes >= max(least, TINY)), least


def _anchors(rows: Tensor, count: int, seed: int) -> Tensor:
    """Directions of the data, each of length 1: centres of `count` clusters, then extreme rows.

    Of the rows each one taken is the farthest, in angle, from all taken before: atoms are often
    the ends of what a layer does, which no mean of rows reaches.
    """
    import torch
    from sklearn.cluster import KMeans

    unit = rows / rows.norm(dim=1, keepdim=True).clamp(min=TINY)
    unit = unit[unit.norm(dim=1) > 0.5]
    some = unit[:: max(1, -(-len(unit) // STARTS))]
    state = int(np.random.SeedSequence([seed, count]).generate_state(1)[0])
    model = KMeans(count, n_init=3, max_iter=50, random_state=state).fit(some.numpy())
    centres = torch.as_tensor(model.cluster_centers_).float()
    anchors = [centres / centres.norm(dim=1, keepdim=True).clamp(min=TINY)]
    nearest = (some @ anchors[0].T).max(1).values
    for _ in range(min(ENDS_PER_ATOM * count, MOST_ENDS, len(some))):
        end = some[int(nearest.argmin())]
        anchors.append(end[None])
        nearest = torch.maximum(nearest, some @ end)
    return torch.cat(anchors)

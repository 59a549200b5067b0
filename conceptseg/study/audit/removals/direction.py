"""The direction in which a layer differs between where a context lies and images that lack it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.known import Known
from conceptseg.study.audit.case import Case
from conceptseg.study.audit.removals.contract import Ablation, Kind, Learnt, Removal


@dataclass(frozen=True)
class Direction(Removal):
    """A context's unit `vector` [u], the component along it where the context is `absent`, and
    random unit vectors `null` [r, u] of the layer's own spread, at right angles to it."""

    others = "random directions"
    done = "taken out of the layer"
    vector: np.ndarray
    absent: float
    null: np.ndarray

    def __len__(self) -> int:
        return 1 + len(self.null)

    def edited(self, activation: Tensor, rows: range) -> Tensor:
        """A' = A - max(0, A . v - absent) d, with d = v, and d each random direction.

        What exceeds the component where the context is absent is taken away, and positions that do
        not show it stay.
        """
        vector = torch.as_tensor(self.vector).to(activation)
        along = torch.einsum("nuyx,u->nyx", activation, vector) - self.absent
        every = torch.cat([vector[None], torch.as_tensor(self.null).to(activation)])
        own = every[rows.start : rows.stop]
        return activation - along.clamp(min=0)[:, None] * own[:, :, None, None]


class Difference(Kind):
    """The mean where the context lies, less that over images that lack it."""

    name, noun = "direction", "its direction"

    def applies(self, case: Case, known: Known) -> bool:
        return case.context.kind not in ("place", "concept")

    def removal(
        self, one: Ablation, case: Case, learnt: Learnt, known: Known, rng: np.random.Generator
    ) -> Removal | str:
        apart = learnt.there - learnt.lacking
        if not (length := float(np.linalg.norm(apart))) > 0:
            return f"{one.layer} holds the same with it and without it"
        vector = apart / length
        null = random_directions(learnt.cells, vector, one.random, rng)
        what = f"the direction of {case.context.name}"
        return Direction(what, vector, float(learnt.lacking @ vector), null)


def random_directions(
    cells: np.ndarray, vector: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Random unit vectors, spread as positions [m, u] are, without their part along a unit vector:
    where a context is much of what the layer tells apart, they would hold it, too."""
    made = rng.normal(size=(count, len(cells))) @ (cells - cells.mean(0))
    made -= (made @ vector)[:, None] * vector
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(np.divide(made, length, out=np.zeros_like(made), where=length > 0))

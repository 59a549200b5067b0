"""Pass 2: the effect of each atom on each class, and a first estimate of every way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.graph.atoms import ATOMS, CELLS, CLASSES, HALVES, LAYERS, Atoms
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.naming import together
from conceptseg.study.graph.responses import responses
from conceptseg.study.graph.wires import Scores, Wires, scored, swapped

EFFECTS = Key("effects", SampleTable)
"""Of each image, with P atoms and c classes: `there` [1, c], `total`, `direct` and `restored`
[1, P, c], `first` [1, P, P, c], `active` [1, P], `on` [1, P, K]."""
BY_UNIT = Key("by unit", SampleTable)
"""Of some images `ways i j` [1, P_i, c, u_j] and `straight i` [1, c, u_i], nan where the class is
not: what each unit adds to the first estimates."""


@dataclass(frozen=True)
class Screen(Pass):
    """Each atom set to its mean, each layer behind it read, and gradients where they meet.

    The score of a class owes to the way from p to q about the gradient at q's layer times what q's
    response changed by, q's layer being reached with all studied layers between held: attribution
    patching (Syed et al. 2023), summed over units of q, and kept by unit for the null.
    """

    study: Graph

    name = "screen"
    cost = "some 3 to 4 forwards per atom and image, and a backward per class and layer"
    labels = "optional"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return context.manifest.named(known[HALVES].sampling.ids)

    def forwards(self, context: Context) -> float:
        """With eight atoms in each of so many layers."""
        study = self.study
        depth = study.most_layers if not isinstance(study.layers, tuple) else len(study.layers)
        classes = len(study.class_ids(context))
        images = min(len(context.manifest.samples), study.images * classes)
        return float(images * (8 * (depth + 3) * depth / 2 + 3 * classes))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        atoms, classes, halves = known[ATOMS], known[CLASSES], known[HALVES]
        wires = Wires(context.model, batch.images, known[LAYERS])
        scores = wires.targets(classes)
        there = np.array(
            [[c in known[CELLS].tables[n]["held"] for c in classes] for n in batch.ids]
        )
        own, ways, straight = looked(wires, atoms, scores)
        own["there"] = there
        own["active"], own["on"] = responses(wires.clean, wires.logits, atoms)
        tried = {halves.sampling.ids[i] for i in np.flatnonzero(halves.tried).tolist()}
        rows = np.array([name in tried for name in batch.ids], bool)
        units = SampleTable.batch(
            [name for name in batch.ids if name in tried],
            units_of(ways, straight, there, rows),
        )
        counts = together(context, batch, label_map(wires.logits), wires.clean, known)
        return EFFECTS(SampleTable.batch(batch.ids, own)) | BY_UNIT(units) | counts


def looked(
    wires: Wires, atoms: Atoms, scores: Scores
) -> tuple[dict[str, np.ndarray], dict[tuple[int, int], np.ndarray], list[np.ndarray]]:
    """Effects [n, ...] as in `EFFECTS`, and by unit: ways {(i, j): [n, P_i, c, u_j]}, straight
    [n, c, u_i] of each layer."""
    n, p, c = len(wires.images), len(atoms.atoms), len(scores)
    clean = scored(scores, wires.logits)
    slopes, means = wires.gradients(scores), atoms.means(wires.images.device)
    total, direct, restored = (torch.zeros(n, p, c, dtype=torch.float64) for _ in range(3))
    first = torch.zeros(n, p, p, c, dtype=torch.float64)
    ways = dict[tuple[int, int], np.ndarray]()
    straight = list[np.ndarray]()
    depth = len(atoms.layers)
    for i in range(depth):
        here = atoms.at(i)
        own = wires.clean[i]
        everything = torch.arange(own.shape[1], device=own.device)
        gone = swapped(own, everything, means[i])
        behind = wires.behind(i)
        base = scored(scores, wires.run(i, gone, behind)[0])
        changes = {j: list[Tensor]() for j in range(i + 1, depth)}
        for place in here:
            units = torch.tensor(atoms.atoms[place].units, device=own.device)
            without = swapped(own, units, means[i])
            for j in range(i + 1, depth):
                logits, found = wires.run(i, without, wires.between(i, j), j)
                assert found is not None
                changes[j].append(by_unit(slopes, j, wires.clean[j] - found))
                if j == i + 1:
                    total[:, place] = clean - scored(scores, logits)
            direct[:, place] = clean - scored(scores, wires.run(i, without, behind)[0])
            only = swapped(gone, units, own)
            restored[:, place] = scored(scores, wires.run(i, only, behind)[0]) - base
        if i == depth - 1:
            total[:, here] = direct[:, here]
        held = wires.direct_gradients(scores, i)
        straight.append(_products(held, own - gone).cpu().numpy())
        for j, parts in changes.items():
            ways[i, j] = torch.stack(parts, 1).cpu().numpy()  # [n, P_i, c, u_j]
            for q in atoms.at(j):
                units_of = list(atoms.atoms[q].units)
                first[:, here, q] = torch.from_numpy(ways[i, j][..., units_of].sum(-1)).double()
    both = (("total", total), ("direct", direct), ("restored", restored))
    return {**{k: v.numpy() for k, v in both}, "first": first.float().numpy()}, ways, straight


def by_unit(slopes: Sequence[Sequence[Tensor]], layer: int, change: Tensor) -> Tensor:
    """Gradient times change at a layer, summed over places, [n, c, u]."""
    return _products([own[layer] for own in slopes], change)


def _products(slopes: Sequence[Tensor], change: Tensor) -> Tensor:
    return torch.stack([(one * change).flatten(2).sum(2) for one in slopes], 1).double()


def units_of(
    ways: Mapping[tuple[int, int], np.ndarray],
    straight: Sequence[np.ndarray],
    there: np.ndarray,
    rows: np.ndarray,
) -> dict[str, np.ndarray]:
    """The arrays of `BY_UNIT` for some images, float32; `there` [n, c] where a class is."""
    lacks = ~there[rows]
    found = {
        f"ways {i} {j}": np.where(lacks[:, None, :, None], np.nan, own[rows])
        for (i, j), own in ways.items()
    }
    for i, own in enumerate(straight):
        found[f"straight {i}"] = np.where(lacks[:, :, None], np.nan, own[rows])
    return {name: own.astype(np.float32) for name, own in found.items()}

"""Where atoms respond: their maps, how strongly, and on which classes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from conceptseg.network.label_map import label_map
from conceptseg.study.graph.atoms import Atoms


def responses(
    clean: Sequence[Tensor], logits: Tensor, atoms: Atoms
) -> tuple[np.ndarray, np.ndarray]:
    """How strongly each atom responds somewhere [n, P], and in the mean over each predicted class
    [n, P, K], in deviations, from the layers' activations and the logits; nan where a class is not
    predicted."""
    predicted = label_map(logits)
    n, k = predicted.shape[0], logits.shape[1]
    active = np.zeros((n, len(atoms.atoms)), np.float32)
    on = np.full((n, len(atoms.atoms), k), np.nan, np.float32)
    inside = torch.nn.functional.one_hot(predicted, k).movedim(3, 1).float()
    for layer in range(len(atoms.layers)):
        maps = atom_maps(clean[layer], atoms, layer)
        cells = torch.nn.functional.adaptive_avg_pool2d(inside, (maps.shape[2], maps.shape[3]))
        areas = cells.flatten(2).sum(2)
        over = torch.einsum("npyx,nkyx->npk", maps, cells) / areas.clamp(min=1e-9)[:, None]
        over[(areas <= 1e-9)[:, None].expand_as(over)] = torch.nan
        # One atom after the other: a quantile's input may not be large.
        highest = [torch.quantile(maps[:, q].flatten(1), 0.99, dim=1) for q in range(maps.shape[1])]
        active[:, atoms.at(layer)] = torch.stack(highest, 1).cpu().numpy()
        on[:, atoms.at(layer)] = over.cpu().numpy()
    return active, on


def atom_maps(activation: Tensor, atoms: Atoms, layer: int) -> Tensor:
    """The mean standardised response of each atom's units, [n, P_l, y, x], in deviations."""
    mean = torch.from_numpy(atoms.mean[layer]).to(activation)
    spread = torch.from_numpy(atoms.deviation[layer]).to(activation)
    scaled = (activation - mean[:, None, None]) / spread.clamp(min=1e-12)[:, None, None]
    own = [scaled[:, list(atoms.atoms[place].units)].mean(1) for place in atoms.at(layer)]
    return torch.stack(own, 1)

"""What atoms are called: the class, or the known context, on which they respond."""

from collections.abc import Sequence

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.intervals import Floats
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.study.graph.atoms import ATOMS, BARS, HALVES, Atoms
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.responses import atom_maps
from conceptseg.study.shared.atoms import NONE, Name, concept_slots, joint_counts, names
from conceptseg.study.shared.overlap import referred

TOGETHER = tuple(Key(f"graph's atoms together {half}", JointCounts) for half in (0, 1))
"""Of either half: at how many places each atom shows with each class and the known context."""
NAMES: Key[tuple[Name, ...]] = Key("names of the graph's atoms", tuple)


def together(
    context: Context,
    batch: Batch,
    predicted: torch.Tensor,
    clean: Sequence[torch.Tensor],
    known: Known,
) -> Known:
    """The joint counts of a batch, from its prediction [n, h, w] and its layers' activations.

    Classes are as labelled, of an image without labels as predicted.
    """
    k, atoms, bars, halves = len(context.model.classes), known[ATOMS], known[BARS], known[HALVES]
    first = {halves.sampling.ids[i] for i in np.flatnonzero(halves.first).tolist()}
    seen, _ = referred(batch.labels, predicted)
    slots, found = concept_slots(context.manifest, batch.ids, seen, k), Known()
    for half, key in enumerate(TOGETHER):
        rows = [i for i, name in enumerate(batch.ids) if (name in first) == (half == 0)]
        if rows:
            found |= key(_counts(atoms, bars, [one[rows] for one in clean], slots[:, rows], k))
    return found


def _counts(
    atoms: Atoms, bars: Floats, clean: Sequence[torch.Tensor], slots: torch.Tensor, k: int
) -> JointCounts:
    each = []
    for layer, activation in enumerate(clean):
        places = atoms.at(layer)
        if not places:
            continue
        maps = atom_maps(activation.float(), atoms, layer)
        bar = torch.from_numpy(bars[places]).to(maps)
        own = joint_counts((maps > bar[:, None, None]).long(), slots, k + 2).counts
        assert own is not None
        each.append(own)
    return JointCounts(np.concatenate(each))


def name_atoms(study: Graph, context: Context, known: Known) -> Known:
    """The names: chosen on one half of the images, borne out by the other."""
    halves = [known[key].counts if key in known else None for key in TOGETHER]
    return NAMES(tuple(names(halves, context.model.classes, len(known[ATOMS].atoms))))


def called(known: Known) -> list[str]:
    """What texts call each atom: its layer and number, with its name if it has one."""
    atoms = known[ATOMS]
    return [
        atoms.name(place) + ("" if one.name == NONE else f" ({one.name})")
        for place, one in enumerate(known[NAMES])
    ]

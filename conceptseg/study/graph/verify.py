"""Pass 3: the ways that gradients point to, carried out in both directions on the other half."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.graph.atoms import ATOMS, CELLS, CLASSES, HALVES, LAYERS, Atoms
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.screen import EFFECTS
from conceptseg.study.graph.wires import Scores, Wires, scored, swapped

Way = tuple[int, int]
"""From an atom to an atom, by their places."""


@dataclass(frozen=True)
class Chosen:
    """The ways that are carried out, and for which classes [m, c]; `agree` [c] is how far the two
    halves choose alike: the Jaccard index of their choices."""

    ways: tuple[Way, ...]
    asked: np.ndarray
    agree: np.ndarray


CHOSEN_WAYS = Key("chosen ways", Chosen)
PATCHED = Key("patched", SampleTable)
"""Of each image of the other half, `out` and `back` [1, m, c]."""


def choose_ways(study: Graph, context: Context, known: Known) -> Known:
    """Of each class the ways of the largest first estimates on the screening half, in the mean of
    their sizes: of what is set to its mean, effects of either sign cancel over images."""
    effects, halves = known[EFFECTS], known[HALVES]
    there = effects.column("there")
    means = [_means(effects, there & half[:, None]) for half in (halves.first, ~halves.first)]
    return CHOSEN_WAYS(strongest(means[0], means[1], study.edges))


def _means(effects: SampleTable, rows: np.ndarray) -> np.ndarray:
    """Mean size of first estimates [P, P, c] over images that hold the class, `rows` [n, c]."""
    total: np.ndarray | float = 0.0
    for own, name in zip(rows, effects.ids, strict=True):
        total = total + np.where(
            own, np.abs(effects.tables[name]["first"][0]).astype(np.float64), 0.0
        )
    return np.asarray(total / np.maximum(rows.sum(0), 1))


def strongest(first: np.ndarray, other: np.ndarray, most: int) -> Chosen:
    """The `most` largest of sizes [P, P, c] for each class, beside what `other` chooses."""
    picks = [
        [_largest(means[..., c], most) for c in range(means.shape[2])] for means in (first, other)
    ]
    ways = sorted({one for own in picks[0] for one in own})
    asked = np.array([[way in own for own in picks[0]] for way in ways], bool)
    agree = [
        len(set(a) & set(b)) / len(set(a) | set(b)) if a or b else np.nan
        for a, b in zip(*picks, strict=True)
    ]
    return Chosen(tuple(ways), asked.reshape(len(ways), first.shape[2]), np.array(agree))


def _largest(means: np.ndarray, most: int) -> list[Way]:
    size = np.abs(means)
    order = np.argsort(-size, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, size.shape)
    both = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(p, q) for p, q in both if size[p, q] > 0]


@dataclass(frozen=True)
class Verify(Pass):
    """Each chosen way: the second atom as the first one's absence makes it, in a clean pass; and as
    it was, in the pass without the first."""

    study: Graph

    name = "verify"
    cost = "2 to 3 forwards per way and image"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        halves = known[HALVES]
        ids = halves.sampling.ids
        return context.manifest.named([ids[i] for i in np.flatnonzero(~halves.first).tolist()])

    def forwards(self, context: Context) -> float:
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.images * classes) / 2
        return images * 2.5 * study.edges * classes**0.5

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        wires = Wires(context.model, batch.images, known[LAYERS])
        scores = wires.targets(known[CLASSES])
        there = np.array(
            [[c in known[CELLS].tables[n]["held"] for c in known[CLASSES]] for n in batch.ids]
        )
        out, back = patched(wires, known[ATOMS], scores, known[CHOSEN_WAYS].ways)
        lacks = ~there[:, None, :]
        own = {"out": np.where(lacks, np.nan, out), "back": np.where(lacks, np.nan, back)}
        return PATCHED(SampleTable.batch(batch.ids, own))


def patched(
    wires: Wires, atoms: Atoms, scores: Scores, ways: Sequence[Way]
) -> tuple[np.ndarray, np.ndarray]:
    """What the scores owe to each way, [n, m, c]: by ablation, and by restoration.

    In a linear network both are the same number; what they differ by is interaction with what else
    the first atom's absence changes.
    """
    clean, means = scored(scores, wires.logits), atoms.means(wires.images.device)
    out, back = np.zeros((2, len(wires.images), len(ways), len(scores)))
    grouped = defaultdict[tuple[int, int], list[int]](list)
    for number, (p, q) in enumerate(ways):
        grouped[p, atoms.atoms[q].layer].append(number)
    for (p, j), numbers in grouped.items():
        i = atoms.atoms[p].layer
        own = wires.clean[i]
        without = swapped(own, torch.tensor(atoms.atoms[p].units, device=own.device), means[i])
        held = wires.between(i, j)
        logits, found = wires.run(i, without, held, j)
        assert found is not None
        gone = scored(scores, logits)
        for number in numbers:
            units = torch.tensor(atoms.atoms[ways[number][1]].units, device=own.device)
            put = swapped(wires.clean[j], units, found)
            out[:, number] = clean - scored(scores, wires.run(j, put, {})[0])
            kept = swapped(found, units, wires.clean[j])
            again = scored(scores, wires.run(i, without, {**held, j: kept})[0])
            back[:, number] = again - gone
    return out, back

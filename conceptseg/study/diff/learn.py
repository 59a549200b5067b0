"""Both layers at the same positions become concepts with an atom in each network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.concepts.dictionary import Dictionary as Atoms
from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import encode
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.sums import Sums
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.networks import MEMBERS
from conceptseg.study.shared.atoms import codes_of, flat, shaped, some_positions
from conceptseg.study.shared.overlap import class_iou, class_mean
from conceptseg.study.shared.studied import first

GONE = 0.05
"""Share of the largest length of a concept's atoms below which a network has no such concept."""

ROWS, MOMENTS = Key("positions", SampleTable), Key("moments", Sums)
TRIED: Key[tuple["Shared", ...]] = Key("tried dictionaries", tuple)
RECOVERED = Key("recovered", SampleTable)


@dataclass(frozen=True)
class Shared:
    """q concepts of v networks: of each network its atoms [q, u], of length 1, and `lengths` [v, q]
    of them before, each network's layer scaled to length 1 on average."""

    atoms: tuple[np.ndarray, ...]
    lengths: np.ndarray

    @property
    def count(self) -> int:
        return int(self.lengths.shape[1])

    @property
    def present(self) -> np.ndarray:
        """Whether each network has each concept, [v, q]."""
        return np.asarray(self.lengths > GONE * self.lengths.max(0))

    def codes(self, member: int, activation: Tensor) -> Tensor:
        """A network's own codes of an activation [n, u, y, x], [n, q, y, x]; 0 of what it lacks."""
        there = np.flatnonzero(self.present[member])
        found = codes_of(Atoms(self.atoms[member][there]), activation)
        codes = found.new_zeros(len(found), self.count, *found.shape[2:])
        codes[:, there] = found
        return codes

    def rebuilt(self, member: int, activation: Tensor) -> Tensor:
        there = np.flatnonzero(self.present[member])
        atoms = Atoms(self.atoms[member][there])
        return shaped(atoms.rebuilt(flat(activation)), activation)


SHARED = Key("shared", Shared)
RECOVERS: Key[tuple[tuple[int, float], ...]] = Key("recovers", tuple)
"""Of each number of atoms that was tried: it, and the least IoU that any network recovers."""


def passes(study: Diff, context: Context, images: int) -> float:
    """A pass of so many images, at most, through each network."""
    return float(min(images, len(context.manifest.samples)) * (2 + len(study.seeds)))


@dataclass(frozen=True)
class Gather(Pass):
    """Some positions of each image in every network, and the moments of all positions of two."""

    study: Diff

    name = "gather"
    cost = "1 forward up to the layer per image and network"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, self.study.images)

    def forwards(self, context: Context) -> float:
        return passes(self.study, context, self.study.images)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        maps = [encode(one.model, batch.images, one.layer).double() for one in known[MEMBERS]]
        for one, values in zip(known[MEMBERS], maps, strict=True):
            one.model.check_finite(values, batch.ids, one.layer)
        named = {f"rows {n}": one for n, one in enumerate(maps)}
        table = some_positions(named, batch.ids, context.seed, self.study.positions)
        a, b = (flat(one).cpu().numpy() for one in maps[:2])
        return ROWS(table) | MOMENTS(
            Sums(
                {
                    "count": np.array(len(a)),
                    "a": a.sum(0),
                    "b": b.sum(0),
                    "aa": a.T @ a,
                    "bb": b.T @ b,
                    "ab": a.T @ b,
                }
            )
        )

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        return MOMENTS(state[MOMENTS])


def learn(study: Diff, context: Context, known: Known) -> Known:
    """Concepts of each number, from positions of all networks side by side."""
    table, finder = known[ROWS], study.finder
    parts = []
    for number in range(len(known[MEMBERS])):
        rows = finder.some(table.column(f"rows {number}")).astype(np.float64)
        parts.append(rows / max(float(np.sqrt((rows**2).sum(1).mean())), 1e-12))
    joint = np.concatenate(parts, 1)
    ends = np.cumsum([one.shape[1] for one in parts])[:-1]
    counts = finder.allowed(*joint.shape, "positions")
    return TRIED(
        tuple(_split(finder.learn(joint, k, context.seed).atoms, ends) for k in sorted(set(counts)))
    )


def _split(atoms: np.ndarray, ends: np.ndarray) -> Shared:
    """Joint atoms taken apart, each part scaled to length 1."""
    parts = np.split(atoms, ends, axis=1)
    lengths = np.stack([np.linalg.norm(one, axis=1) for one in parts])
    unit = [one / np.maximum(n, 1e-12)[:, None] for one, n in zip(parts, lengths, strict=True)]
    return Shared(tuple(unit), lengths)


@dataclass(frozen=True)
class Recover(Pass):
    """The prediction of each network from its own atoms alone, against its own."""

    study: Diff

    name = "recover"
    cost = "1 forward + 1 tail per number of atoms, per network, on a few images"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, self.study.recover_images)

    def forwards(self, context: Context) -> float:
        edits = 1 + 0.5 * len(self.study.finder.counts)
        return edits * passes(self.study, context, self.study.recover_images)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        found = []
        with torch.no_grad():
            for number, member in enumerate(known[MEMBERS]):
                tail = member.tail(batch.images)
                clean, k = label_map(tail.logits), len(context.model.classes)
                for shared in known[TRIED]:
                    rebuilt = shared.rebuilt(number, tail.activation)
                    found.append(class_iou(label_map(tail.resume(rebuilt)), clean, k))
        iou = torch.stack(found, 1).cpu().numpy()
        return RECOVERED(SampleTable.batch(batch.ids, {"iou": iou}))


def choose(study: Diff, context: Context, known: Known) -> Known:
    """The fewest concepts that recover every network, else those that recover most."""
    tried = known[TRIED]
    iou = known[RECOVERED].column("iou").astype(np.float64)
    each = np.array([np.nanmean(class_mean(iou[:, i])) for i in range(iou.shape[1])])
    least = each.reshape(-1, len(tried)).min(0)
    enough = np.flatnonzero(least >= study.recovered)
    place = int(enough[0]) if len(enough) else int(np.argmax(least))
    told = tuple((one.count, float(own)) for one, own in zip(tried, least, strict=True))
    return SHARED(tried[place]) | RECOVERS(told)

"""Positions of the layer become dictionaries; the least that recovers the prediction is taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.concepts.dictionary import Dictionary as Atoms
from conceptseg.concepts.dictionary import again
from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail, encode
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.shared.atoms import flat, shaped, some_positions
from conceptseg.study.shared.overlap import class_iou, class_mean
from conceptseg.study.shared.studied import first, sampling_of


@dataclass(frozen=True)
class Learnt:
    """The dictionary that was taken; `recovered` is its IoU with the network's own prediction.

    `tried` are all: how many atoms were asked for and are there, the error and what each recovers;
    `stability` [q] is the mean cosine of each atom with its partners in refits; `bars` [q] codes
    that few of the layer's positions exceed; `spread` [m, u] some positions less their mean.
    """

    atoms: Atoms
    recovered: Estimate
    error: float
    stability: np.ndarray
    tried: tuple[tuple[int, int, float, Estimate], ...]
    bars: np.ndarray
    spread: np.ndarray

    @property
    def count(self) -> int:
        return len(self.atoms.atoms)


SHOWN = 0.95
"""An atom shows where its code is beyond this share of the layer's positions."""

ROWS, RECOVERED = Key("positions", SampleTable), Key("recovered", SampleTable)
TRIED: Key[tuple[tuple[int, Atoms], ...]] = Key("tried dictionaries", tuple)
LAYER_ROWS: Key[np.ndarray] = Key("layer rows", np.ndarray)
LEARNT = Key("learnt", Learnt)


@dataclass(frozen=True)
class Gather(Pass):
    """Some positions of each image, drawn by its id: as much of each, so memory does not grow."""

    study: Dictionary

    name = "gather"
    cost = "1 forward up to the layer per image"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, self.study.images)

    def forwards(self, context: Context) -> float:
        return float(min(self.study.images, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        maps = encode(context.model, batch.images, context.levels).float()
        context.model.check_finite(maps, batch.ids, context.layer)
        drawn = some_positions({"rows": maps}, batch.ids, context.seed, self.study.positions)
        return ROWS(drawn)


def learn(study: Dictionary, context: Context, known: Known) -> Known:
    """A dictionary of each number of atoms. InputError where no number suits the layer."""
    finder = study.finder
    rows = finder.some(known[ROWS].column("rows"))
    counts = finder.allowed(*rows.shape, "positions")
    return TRIED(
        tuple((k, finder.learn(rows, k, context.seed)) for k in sorted(set(counts)))
    ) | LAYER_ROWS(rows)


@dataclass(frozen=True)
class Recover(Pass):
    """The prediction from each dictionary's sums in place of the layer, against the network's."""

    study: Dictionary

    name = "recover"
    cost = "1 forward + 1 tail per number of atoms, on a few images"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, self.study.recover_images)

    def forwards(self, context: Context) -> float:
        n = min(self.study.recover_images, len(context.manifest.samples))
        return n * (1 + 0.5 * len(self.study.finder.counts))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        with torch.no_grad():
            tail = Tail.of(context.model, batch.images, context.levels)
            clean = label_map(tail.logits)
            each = []
            for _, atoms in known[TRIED]:
                rebuilt = shaped(atoms.rebuilt(flat(tail.activation)), tail.activation)
                seen = label_map(tail.resume(rebuilt))
                each.append(class_iou(seen, clean, len(context.model.classes)))
        iou = torch.stack(each, 1).cpu().numpy()
        return RECOVERED(SampleTable.batch(batch.ids, {"iou": iou}))


def choose(study: Dictionary, context: Context, known: Known) -> Known:
    """The fewest atoms that recover enough, else those that recover most; and their stability."""
    table, rows = known[RECOVERED], known[LAYER_ROWS]
    own, values = (
        sampling_of(context, table.ids, study.unit, context.seed),
        table.column("iou").astype(np.float64),
    )
    tried = []
    for place, (asked, atoms) in enumerate(known[TRIED]):
        estimate = own.pointed(class_mean(values[:, place]), 0, 1)
        tried.append((asked, len(atoms.atoms), atoms.error(rows), estimate))
    enough = [i for i, one in enumerate(tried) if one[3].value >= study.recovered]
    place = enough[0] if enough else int(np.argmax([one[3].value for one in tried]))
    asked, atoms = known[TRIED][place]
    codes = atoms.codes(torch.as_tensor(rows)).numpy()
    return LEARNT(
        Learnt(
            atoms,
            tried[place][3],
            tried[place][2],
            _stability(study, context, rows, asked, atoms),
            tuple(tried),
            np.quantile(codes, SHOWN, axis=0),
            rows - rows.mean(0),
        )
    )


def _stability(
    study: Dictionary, context: Context, rows: np.ndarray, asked: int, atoms: Atoms
) -> np.ndarray:
    """The mean cosine of each atom with its partners in fits of other draws by other seeds."""
    refits = [atoms]
    for repeat in range(1, study.refits + 1):
        rng = np.random.default_rng([context.seed, 71, repeat])
        some = np.sort(rng.integers(0, len(rows), len(rows)))
        refits.append(study.finder.learn(rows[some], asked, context.seed + repeat))
    return np.clip(np.mean(again(refits, first_only=True), axis=0), 0.0, 1.0)

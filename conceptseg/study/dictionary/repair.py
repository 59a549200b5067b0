"""Setting an atom to what it is in right images, on images where a class fails."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.intervals import mostly_alike
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.survey import HALVES, SURVEY
from conceptseg.study.shared.atoms import changed, codes_of
from conceptseg.study.shared.edits import Editable
from conceptseg.study.shared.overlap import class_mean
from conceptseg.study.shared.studied import sampling_of
from conceptseg.study.shared.sweep import One, Sweep


@dataclass(frozen=True)
class Failure:
    """A class that fails: the images in which it does, by half, and the mean code of each atom
    [q] over the right images of the half that chooses, whose IoU is `right` on average."""

    class_id: int
    images: tuple[tuple[str, ...], tuple[str, ...]]
    mean: np.ndarray
    right: float


@dataclass(frozen=True)
class Repair:
    """The atom chosen for a class on one half, and what it did on the other half's failures.

    `gain` of IoU, `placebo` the mean gain by all other atoms, each set to its own mean; `regained`
    and `by_placebo` as shares of what was `lost` against right images; `test` that the gain exceeds
    the placebo; `harm` the change of IoU of all classes where the class does not fail.
    """

    class_id: int
    atom: int
    failures: int
    before: float
    after: Estimate
    gain: Estimate
    placebo: Estimate
    regained: Estimate
    by_placebo: float
    test: Test
    harm: Estimate


FAILURES: Key[tuple[Failure, ...]] = Key("failures", tuple)
TRIALS, HARMS = Key("trials", SampleTable), Key("harms", SampleTable)
CHOSEN_ATOMS: Key[dict[int, int]] = Key("chosen atoms", dict)
REPAIRS: Key[tuple[Repair, ...]] = Key("repairs", tuple)


def find_failures(study: Dictionary, context: Context, known: Known) -> Known:
    """The classes that fail in enough images of either half, and are right in some of the first."""
    table, halves = known[SURVEY], known[HALVES]
    ids, iou, share = np.array(table.ids), table.column("iou"), table.column("share")
    half = np.array([halves[name] for name in table.ids])
    labelled, mean = table.column("labelled").astype(bool), table.column("mean")
    found = []
    for c in study.class_ids(context):
        held = labelled & np.isfinite(iou[:, c]) & (share[:, c] >= study.min_share)
        wrong, right = held & (iou[:, c] < study.failing), held & (iou[:, c] >= study.failing)
        each = tuple(tuple(ids[wrong & (half == side)].tolist()) for side in (0, 1))
        right &= half == 0
        if min(map(len, each)) >= study.min_failures and right.any():
            codes = mean[right].astype(np.float64).mean(0)
            found.append(Failure(c, (each[0], each[1]), codes, float(iou[right, c].mean())))
    return FAILURES(tuple(found))


@dataclass(frozen=True)
class Try(Sweep):
    """Every atom is set to its mean, one after the other, on each failing image."""

    study: Dictionary
    name = "repair"
    cost = "1 forward + 1 tail per atom, per failing image"
    labels = "optional"
    rows = TRIALS

    def wanted(self, known: Known) -> Collection[str]:
        return {name for one in known[FAILURES] for own in one.images for name in own}

    def forwards(self, context: Context) -> float:
        """As if one image in ten failed."""
        atoms = max(self.study.finder.counts) / 2
        return 0.1 * min(self.study.images, len(context.manifest.samples)) * (1 + 0.5 * atoms)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        learnt = known[LEARNT]
        layer = editable(context, one)
        rows = []
        failing = [f for f in known[FAILURES] if any(one.id in own for own in f.images)]
        with torch.no_grad():
            codes = codes_of(learnt.atoms, layer.tail.activation)
            for failure in failing:
                each = [layer.iou(), *settings(layer, codes, learnt.atoms.atoms, failure.mean)]
                rows.append([float(value[0, failure.class_id]) for value in each])
        return {
            "class": np.array([one.class_id for one in failing], np.int64),
            "iou": np.array(rows, np.float64).reshape(len(failing), 1 + learnt.count),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return TRIALS(table)


def editable(context: Context, one: One) -> Editable:
    with torch.no_grad():
        return Editable.of(context, one.image, None if one.labels is None else one.labels[None])


def settings(layer: Editable, codes: Tensor, atoms: np.ndarray, mean: np.ndarray) -> list[Tensor]:
    """IoU [n, k] with each atom in turn set to its mean [q] at every position."""
    activation = layer.tail.activation
    return [
        layer.iou(changed(activation, float(mean[q]) - codes[:, q], atoms[q]))
        for q in range(len(atoms))
    ]


def gains(known: Known, failure: Failure, half: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Of the failing images of one half: their ids, IoU before [m], and its change by each atom
    [m, q]."""
    ids, clean, edited = list(failure.images[half]), list[float](), list[np.ndarray]()
    for name in ids:
        own = known[TRIALS].tables[name]
        row = own["iou"][int(np.flatnonzero(own["class"] == failure.class_id)[0])]
        clean.append(float(row[0]))
        edited.append(row[1:] - row[0])
    return ids, np.array(clean), np.stack(edited)


def choose_atoms(study: Dictionary, context: Context, known: Known) -> Known:
    """Of each class that fails the atom that gains most on the first half's failures."""
    return CHOSEN_ATOMS(
        {one.class_id: int(np.argmax(gains(known, one, 0)[2].mean(0))) for one in known[FAILURES]}
    )


@dataclass(frozen=True)
class Harm(Sweep):
    """The chosen atoms are set on the second half's images in which their class does not fail."""

    study: Dictionary
    name = "harm"
    cost = "1 forward + 1 tail per class that fails, on half of the images"
    labels = "optional"
    rows = HARMS

    def wanted(self, known: Known) -> Collection[str]:
        if not known[FAILURES]:
            return ()
        return {name for name, half in known[HALVES].items() if half == 1}

    def forwards(self, context: Context) -> float:
        return 0.5 * min(self.study.images, len(context.manifest.samples))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        learnt, rows = known[LEARNT], []
        layer = editable(context, one)
        with torch.no_grad():
            codes, clean = codes_of(learnt.atoms, layer.tail.activation), layer.iou()
            for failure in known[FAILURES]:
                q = known[CHOSEN_ATOMS][failure.class_id]
                step = float(failure.mean[q]) - codes[:, q]
                edited = changed(layer.tail.activation, step, learnt.atoms.atoms[q])
                rows.append((layer.iou(edited) - clean)[0].cpu().numpy())
        return {"change": np.stack(rows)[None]}


def judge_repairs(study: Dictionary, context: Context, known: Known) -> Known:
    """What the chosen atoms gain on the second half, beyond all others; classes are one family."""
    asked, rows = list[Question](), []
    for place, failure in enumerate(known[FAILURES]):
        ids, clean, change = gains(known, failure, 1)
        own = sampling_of(context, ids, study.unit, context.seed)
        chosen = known[CHOSEN_ATOMS][failure.class_id]
        gain, others = change[:, chosen], np.delete(change, chosen, 1)
        placebo = others.mean(1) if others.shape[1] else np.zeros(len(gain))
        # More than nothing, and more than the placebo: the smaller of both has to be shown.
        asked.append(Question(np.minimum(gain, gain - placebo), own))
        rows.append((place, failure, own, clean, gain, placebo))
    made = []
    for (place, failure, own, clean, gain, placebo), test in zip(
        rows, judge(asked, side="greater", seed=study.seed), strict=True
    ):
        lost, gained = failure.right - clean, own.pointed(gain, -1, 1)
        made.append(
            Repair(
                failure.class_id,
                known[CHOSEN_ATOMS][failure.class_id],
                len(gain),
                float(clean.mean()),
                own.pointed(clean + gain, 0, 1),
                gained,
                own.pointed(placebo, -1, 1),
                regained(own, gain, lost, gained),
                float(placebo.sum() / lost.sum()),
                test,
                _harm(study, context, known, place, failure),
            )
        )
    return REPAIRS(tuple(made))


def regained(own: Sampling, gain: np.ndarray, lost: np.ndarray, gained: Estimate) -> Estimate:
    """What is gained [m], `gained` in the mean, of what was lost [m].

    Where most images regain the same share of it, as all of it, the interval of their ratio is one
    point or nearly: then it is as wide as that of the gain, over the mean loss, too.
    """
    found, mean = own.ratio(gain, lost), float(lost.mean())
    if not mostly_alike(gain / lost):
        return found
    return found.joined(replace(gained, low=gained.low / mean, high=gained.high / mean))


def _harm(
    study: Dictionary, context: Context, known: Known, place: int, failure: Failure
) -> Estimate:
    """The change of IoU, averaged over the classes of an image, where the class does not fail."""
    table = known[HARMS]
    rows = [i for i, name in enumerate(table.ids) if name not in failure.images[1]]
    ids = [table.ids[i] for i in rows]
    change = class_mean(table.column("change")[rows, place].astype(np.float64))
    return sampling_of(context, ids, study.unit, context.seed).pointed(change, -1, 1)

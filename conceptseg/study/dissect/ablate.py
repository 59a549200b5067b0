"""Third sweep: what each class loses when a concept's units are ablated, against random units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION, Detection
from conceptseg.study.dissect.pilot import Plan
from conceptseg.study.shared.edits import Change, Editable, beyond_random
from conceptseg.study.shared.losing import Losing
from conceptseg.study.shared.overlap import class_iou
from conceptseg.study.shared.verdicts import Verdict, verdict


@dataclass(frozen=True)
class Loss:
    """What ablating some units does to a class, over so many `images` that hold it.

    `change` of its IoU, which was `clean`, `random` that of random sets of as many other units;
    `test` that the loss exceeds their mean, `p_random` that one more such set costs as much; `used`
    whether the class counts as using the units, and `verdict` what is known of it otherwise. `how`
    says whether it loses pixels of its own, or is put where it is not.
    """

    edit: int
    class_id: int
    images: int
    clean: float
    change: Estimate
    random: float
    p_random: float
    test: Test
    used: bool
    verdict: Verdict
    how: Losing


@dataclass(frozen=True)
class Ablations:
    """`sets` of units that were ablated together, `cards` one by one; places in live.

    `concepts` are those of each set: several may be detected by the same units. `losses` are of
    sets and of single units, their `edit` counting in `sets` and `cards`; `labelled` of `images`
    had labels. Units were set to `replaced_by`, "zero" or their "mean".
    """

    concepts: tuple[tuple[int, ...], ...]
    sets: tuple[tuple[int, ...], ...]
    cards: tuple[int, ...]
    concept_losses: tuple[Loss, ...]
    unit_losses: tuple[Loss, ...]
    images: int
    labelled: int
    replaced_by: str


OWN = ("concepts", "cards")
"""The first of the edits: those that are of a concept or a unit, not random."""
ABLATED, ABLATIONS = Key("ablated", SampleTable), Key("ablations", Ablations)


@dataclass(frozen=True)
class Ablate(Pass):
    """The tail of the network runs once per image for each set of units, shown unit and random."""

    study: Dissect

    name = "ablate"
    cost = "1 forward + 1 tail per concept, its random sets, and shown unit, per image"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        held = known[DETECTION].held.tables
        return context.manifest.named(held)

    def forwards(self, context: Context) -> float:
        """With a set of units for every second shown unit, and a tail for half a pass."""
        study, classes = self.study, len(context.model.classes)
        images = min(len(context.manifest.samples), study.ablate_images * classes)
        edits = 0.5 * study.cards * (1 + study.random_sets) + study.cards + study.random_sets
        return images * (1 + 0.5 * edits)

    def beside(self, context: Context, logits: Tensor) -> object:
        """The overlap of an edited image's prediction."""
        prediction = label_map(logits)
        return class_iou(prediction, prediction, logits.shape[1])

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        detection = known[DETECTION]
        values = replacement(self.study, detection.plan)
        with torch.no_grad():
            layer = Editable.of(context, batch.images, batch.labels)
            rows, right = [layer.iou()], [torch.zeros_like(layer.iou())]
            for kind, sets in edits(self.study, detection, context.seed).items():
                for units in sets:
                    live = detection.plan.live[list(units)]
                    edited = ablated(layer.tail.activation, live, values)
                    if kind in OWN:
                        iou, part = layer.iou_and_right(edited)
                        rows.append(iou)
                        right.append(part)
                    else:
                        rows.append(layer.iou(edited))
        arrays = {"iou": torch.stack(rows, 1), "labelled": layer.labelled}
        arrays["right"] = torch.stack(right, 1)
        numbers = {name: one.cpu().numpy() for name, one in arrays.items()}
        return ABLATED(SampleTable.batch(batch.ids, numbers))


def judge_losses(study: Dissect, context: Context, known: Known) -> Known:
    """What classes lose without a concept's units, and without each shown unit."""
    detection, table = known[DETECTION], known[ABLATED]
    sets = edits(study, detection, context.seed)
    ends = np.cumsum([1, *map(len, sets.values())])[:-1]
    own_ends = np.cumsum([1, len(sets["concepts"])])
    _, *right = np.split(table.column("right").astype(np.float64), own_ends, axis=1)
    clean, *edited = np.split(table.column("iou").astype(np.float64), ends, axis=1)
    by_set = dict(zip(sets, edited, strict=True))
    if study.data.classes:
        others = np.setdiff1d(np.arange(clean.shape[2]), study.class_ids(context))
        clean[:, :, others] = np.nan
    sampling = detection.plan.sampling.named(table.ids)
    own = ablated_sets(study, detection)
    singles = [
        by_set["singles"][:, [s != card for s in sets["singles"]]][:, : study.random_sets]
        for card in sets["cards"]
    ]
    ablations = Ablations(
        tuple(own.values()),
        tuple(own),
        shown_units(study, detection),
        losses(
            study,
            clean[:, 0],
            by_set["concepts"],
            [by_set[e] for e in range(len(own))],
            sampling,
            right[0],
        ),
        losses(study, clean[:, 0], by_set["cards"], singles, sampling, right[1]),
        len(table.ids),
        int(table.column("labelled").sum()),
        "mean" if replacement(study, detection.plan).any() else "zero",
    )
    return ABLATIONS(ablations)


def edits(
    study: Dissect, detection: Detection, seed: int
) -> dict[str | int, list[tuple[int, ...]]]:
    """Units that are ablated together, places in live: of the "concepts", one by one ("cards"),
    random "singles", and for each set of the concepts, by its number, random sets of as many.

    Random sets hold no unit that overlaps a concept of the set enough to be one of its own, unless
    too few others are left; never one of the set itself. Singles are one more than are compared
    with a card, since one may be the card's.
    """
    own, live = ablated_sets(study, detection), np.arange(len(detection.plan.live))
    sets: dict[str | int, list[tuple[int, ...]]] = {"concepts": list(own)}
    sets["cards"] = [(unit,) for unit in shown_units(study, detection)]
    rng = np.random.default_rng([seed, 14])
    singles = rng.permutation(live)[: study.random_sets + 1]
    sets["singles"] = [(unit,) for unit in singles.tolist()]
    for edit, (units, concepts) in enumerate(own.items()):
        near = np.unique([unit for one in concepts for unit in own_units(study, detection, one)])
        others = np.setdiff1d(live, [*units, *near])
        if len(others) < 2 * len(units):  # one set of all others would be no draw
            others = np.setdiff1d(live, units)
        rng = np.random.default_rng([seed, 14, edit])
        sets[edit] = [
            tuple(rng.choice(others, len(units), replace=False).tolist())
            for _ in range(study.random_sets if len(others) else 0)
        ]
    return sets


def ablated_sets(study: Dissect, detection: Detection) -> dict[tuple[int, ...], tuple[int, ...]]:
    """The sets of units that are ablated, each with the concepts that it is of.

    They are those of all concepts that at least one unit detects; equal ones are one.
    """
    sets: dict[tuple[int, ...], tuple[int, ...]] = {}
    for concept in np.unique(detection.chosen.concept[detection.detector]).tolist():
        units = tuple(sorted(concept_units(study, detection, concept)))
        sets[units] = (*sets.get(units, ()), concept)
    return sets


def own_units(study: Dissect, detection: Detection, concept: int) -> tuple[int, ...]:
    """All units that overlap a concept by `min_overlap`, those that overlap it most first."""
    enough = int((np.nan_to_num(detection.grid[:, concept]) >= study.min_overlap).sum())
    return tuple(detection.best_units(concept, enough).tolist())


def concept_units(study: Dissect, detection: Detection, concept: int) -> tuple[int, ...]:
    """The units that are ablated for a concept, those that overlap it most first.

    All that overlap it by `min_overlap` on the images that did not choose, whatever their own
    concept: many units share what they detect, and the others would make up for a few that are
    gone. They are `ablate_units` at most, and a third of the layer: random sets of others have to
    differ from each other.
    """
    most = min(study.ablate_units, len(detection.plan.live) // 3)
    count = max(1, min(len(own_units(study, detection, concept)), most))
    return tuple(detection.best_units(concept, count).tolist())


def shown_units(study: Dissect, detection: Detection) -> tuple[int, ...]:
    """Units with a card: the best detector of each concept, then the second best, and so on.

    Units that detect nothing follow, those with the largest overlap first.
    """
    above = detection.scored.above_chance
    turns: list[tuple[int, float, int]] = []
    for concept in np.unique(detection.chosen.concept).tolist():
        own = detection.detectors(concept)
        turns += [(turn, -float(above[unit]), int(unit)) for turn, unit in enumerate(own)]
    order = [unit for _, _, unit in sorted(turns)]
    idle = np.flatnonzero(~detection.detector)
    order += idle[np.argsort(-above[idle], kind="stable")].tolist()
    return tuple(order[: study.cards])


def replacement(study: Dissect, plan: Plan) -> np.ndarray:
    """What each unit of the layer is set to when it is ablated, [units]."""
    to_zero = study.ablate == "zero" or (study.ablate == "auto" and plan.lowest >= 0)
    return np.zeros(plan.units) if to_zero else plan.mean


def ablated(activation: Tensor, units: np.ndarray, values: np.ndarray) -> Tensor:
    """The activation [n, u, y, x] with some units (of the layer) set to values [u] everywhere."""
    edited = activation.clone()
    edited[:, units.tolist()] = torch.as_tensor(values[units]).to(activation)[:, None, None]
    return edited


def losses(
    study: Dissect,
    clean: np.ndarray,
    edited: np.ndarray,
    random: Sequence[np.ndarray],
    sampling: Sampling,
    right: np.ndarray,
) -> tuple[Loss, ...]:
    """Losses of every class under every edit, from IoU: clean [n, k], edited [n, e, k].

    `random` [n, r, k], for each edit, are random sets of as many units. `right` [n, e, k] is the
    part of each change that is of the class's own pixels. All edits and classes are one family.
    """
    cells = [
        (edit, class_id)
        for class_id in np.flatnonzero(np.isfinite(clean).any(0)).tolist()
        for edit in range(edited.shape[1])
    ]
    changes = [
        Change(
            edited[:, edit, class_id] - clean[:, class_id],
            random[edit][:, :, class_id] - clean[:, class_id, None],
            clean[:, class_id],
            sampling,
        )
        for edit, class_id in cells
    ]
    smallest = study.smallest_effect
    tests = beyond_random(changes, seed=study.seed, gains=False, smallest=smallest)
    result = []
    for (edit, class_id), change, test in zip(cells, changes, tests, strict=True):
        lost, before = change.estimate, change.to_lose
        used = change.shown(test, smallest) and change.rare
        known = verdict(test, before, used=used)
        by_chance = float(change.random.mean()) if change.random.size else float("nan")
        chance = by_chance, change.p_random
        images = len(change.edited)
        parts = edited[:, edit, class_id] - clean[:, class_id], right[:, edit, class_id]
        how = Losing.of(*parts, sampling)
        result.append(Loss(edit, class_id, images, before, lost, *chance, test, used, known, how))
    return tuple(result)

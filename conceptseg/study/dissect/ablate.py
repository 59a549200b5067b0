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
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION, Detection
from conceptseg.study.dissect.pilot import Plan
from conceptseg.study.shared.edits import Change, Editable, beyond_random


@dataclass(frozen=True)
class Loss:
    """What ablating some units does to a class, over so many `images` that hold it.

    `change` of its IoU, `random` that of random sets of as many units; `test` that the loss exceeds
    theirs; `used` whether the class counts as using the units.
    """

    edit: int
    class_id: int
    images: int
    clean: float
    change: Estimate
    random: float
    test: Test
    used: bool


@dataclass(frozen=True)
class Ablations:
    """`concepts` whose units were ablated together, `cards` (places in live) one by one.

    `sets` are the units of each concept, places in live; `losses` of concepts and of single units,
    their `edit` counting in `concepts` and `cards`; `labelled` of `images` had labels. Units were
    set to `replaced_by`, "zero" or their "mean".
    """

    concepts: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    cards: tuple[int, ...]
    concept_losses: tuple[Loss, ...]
    unit_losses: tuple[Loss, ...]
    images: int
    labelled: int
    replaced_by: str


ABLATED, ABLATIONS = Key("ablated", SampleTable), Key("ablations", Ablations)


@dataclass(frozen=True)
class Ablate(Pass):
    """The tail of the network runs once per image for each concept, shown unit and random set."""

    study: Dissect

    name = "ablate"
    cost = "1 forward + 1 tail per concept, shown unit and random set, per image"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        held = known[DETECTION].held.tables
        return [sample for sample in context.manifest.samples if sample.id in held]

    def forwards(self, context: Context) -> float:
        """With a concept for every second shown unit, five sizes, and a tail for half a pass."""
        study, classes = self.study, len(context.model.classes)
        images = min(len(context.manifest.samples), study.ablate_images * classes)
        edits = 1.5 * study.cards + 5 * study.random_sets
        return images * (1 + 0.5 * edits)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        detection = known[DETECTION]
        values = replacement(self.study, detection.plan)
        with torch.no_grad():
            layer = Editable.of(context, batch)
            rows = [layer.iou()]
            for sets in edits(self.study, detection, context.seed).values():
                for units in sets:
                    live = detection.plan.live[list(units)]
                    rows.append(layer.iou(ablated(layer.tail.activation, live, values)))
        arrays = {"iou": torch.stack(rows, 1), "labelled": layer.labelled}
        numbers = {name: one.cpu().numpy() for name, one in arrays.items()}
        return ABLATED(SampleTable.batch(batch.ids, numbers))


def judge_losses(study: Dissect, context: Context, known: Known) -> Known:
    """What classes lose without a concept's units, and without each shown unit."""
    detection, table = known[DETECTION], known[ABLATED]
    sets = edits(study, detection, context.seed)
    ends = np.cumsum([1, *map(len, sets.values())])[:-1]
    clean, *edited = np.split(table.column("iou").astype(np.float64), ends, axis=1)
    by_set = dict(zip(sets, edited, strict=True))
    sampling = detection.plan.sampling.named(table.ids)
    together, alone = (
        losses(study, clean[:, 0], by_set[name], [by_set[len(s)] for s in sets[name]], sampling)
        for name in ("concepts", "cards")
    )
    ablations = Ablations(
        ablated_concepts(detection),
        tuple(sets["concepts"]),
        shown_units(study, detection),
        together,
        alone,
        len(table.ids),
        int(table.column("labelled").sum()),
        "mean" if replacement(study, detection.plan).any() else "zero",
    )
    return ABLATIONS(ablations)


def edits(
    study: Dissect, detection: Detection, seed: int
) -> dict[str | int, list[tuple[int, ...]]]:
    """Units that are ablated together, places in live: of the "concepts", one by one ("cards"), and
    random sets by their size, which is 1 or that of a concept's.

    Random units are drawn among all that are not dead, so they may be those of a concept.
    """
    own = [concept_units(study, detection, concept) for concept in ablated_concepts(detection)]
    sets: dict[str | int, list[tuple[int, ...]]] = {"concepts": own}
    sets["cards"] = [(unit,) for unit in shown_units(study, detection)]
    for size in sorted({1, *map(len, own)}):
        rngs = [np.random.default_rng([seed, 14, size, draw]) for draw in range(study.random_sets)]
        live = len(detection.plan.live)
        sets[size] = [tuple(rng.choice(live, size, replace=False).tolist()) for rng in rngs]
    return sets


def ablated_concepts(detection: Detection) -> tuple[int, ...]:
    """The concepts that at least one unit detects."""
    return tuple(np.unique(detection.chosen.concept[detection.detector]).tolist())


def concept_units(study: Dissect, detection: Detection, concept: int) -> tuple[int, ...]:
    """The units that are ablated for a concept, those that overlap it most first.

    All that overlap it by `min_overlap` on the images that did not choose, whatever their own
    concept: many units share what they detect, and the others would make up for a few that are
    gone. Their number is cut to a power of two, at most `ablate_units`, so that a few sizes of
    random sets serve all concepts.
    """
    enough = int((np.nan_to_num(detection.grid[:, concept]) >= study.min_overlap).sum())
    count = max(1, min(enough, study.ablate_units))
    return tuple(detection.best_units(concept, 2 ** (count.bit_length() - 1)).tolist())


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
) -> tuple[Loss, ...]:
    """Losses of every class under every edit, from IoU: clean [n, k], edited [n, e, k].

    `random` [n, r, k], for each edit, are random sets of as many units. All edits and classes are
    one family.
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
            sampling,
        )
        for edit, class_id in cells
    ]
    tests = beyond_random(changes, seed=study.seed, gains=False)
    result = []
    for (edit, class_id), change, test in zip(cells, changes, tests, strict=True):
        base, lost = clean[np.isfinite(clean[:, class_id]), class_id], change.estimate
        used = test.passed and lost.value <= -study.smallest_effect and lost.below(0)
        before, by_chance = float(base.mean()), float(change.random.mean())
        result.append(Loss(edit, class_id, len(base), before, lost, by_chance, test, used))
    return tuple(result)

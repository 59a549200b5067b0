"""Third sweep: what each class loses when a concept's units are ablated, against random units."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, given, judge
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.p_values import detectable_draw, prediction_p
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION, Detection
from conceptseg.study.dissect.pilot import Plan
from conceptseg.study.shared.edits import Editable


@dataclass(frozen=True)
class Loss:
    """What ablating some units does to a class, over so many `images` that hold it.

    `change` of its IoU, `random` that of random sets of as many units; `test` that the loss exceeds
    theirs, `detectable` the smallest excess that it would have shown, nan where there is none;
    `used` whether the class counts as using the units.
    """

    edit: int
    class_id: int
    images: int
    clean: float
    change: Estimate
    random: float
    test: Test
    detectable: float
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
        with torch.no_grad():
            layer = Editable.of(context, batch)
            rows = [layer.iou()]
            values = replacement(self.study, detection.plan)
            for units in edits(self.study, detection, context.seed):
                live = detection.plan.live[list(units)]
                rows.append(layer.iou(ablated(layer.tail.activation, live, values)))
            iou = torch.stack(rows, 1).cpu().numpy()
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            arrays = {"iou": iou[i][None], "labelled": np.array([bool(layer.labelled[i])])}
            table = table.merge(SampleTable.of(sample_id, arrays))
        return ABLATED(table)


def judge_losses(study: Dissect, context: Context, known: Known) -> Known:
    """What classes lose without a concept's units, and without each shown unit."""
    detection, table = known[DETECTION], known[ABLATED]
    concepts, cards = ablated_concepts(detection), shown_units(study, detection)
    sets = tuple(concept_units(study, detection, concept) for concept in concepts)
    iou = table.column("iou").astype(np.float64)
    first, last = 1 + len(concepts), 1 + len(concepts) + len(cards)
    random = {
        size: iou[:, last + turn * study.random_sets :][:, : study.random_sets]
        for turn, size in enumerate(sizes(study, detection))
    }
    sampling = detection.plan.sampling.named(table.ids)
    null = [random[len(units)] for units in sets]
    together = losses(study, iou[:, 0], iou[:, 1:first], null, sampling)
    alone = losses(study, iou[:, 0], iou[:, first:last], [random[1]] * len(cards), sampling)
    ablations = Ablations(
        concepts,
        sets,
        cards,
        together,
        alone,
        len(table.ids),
        int(table.column("labelled").sum()),
        "mean" if replacement(study, detection.plan).any() else "zero",
    )
    return ABLATIONS(ablations)


def edits(study: Dissect, detection: Detection, seed: int) -> Iterator[tuple[int, ...]]:
    """Units that are ablated together, places in live: concepts, single units, random sets.

    Random units are drawn among all that are not dead, so they may be those of a concept.
    """
    for concept in ablated_concepts(detection):
        yield concept_units(study, detection, concept)
    for unit in shown_units(study, detection):
        yield (unit,)
    for size in sizes(study, detection):
        for draw in range(study.random_sets):
            rng = np.random.default_rng([seed, 14, size, draw])
            yield tuple(rng.choice(len(detection.plan.live), size=size, replace=False).tolist())


def sizes(study: Dissect, detection: Detection) -> tuple[int, ...]:
    """How many units are ablated at once: 1, and the sizes of the concepts' sets."""
    own = {len(concept_units(study, detection, concept)) for concept in ablated_concepts(detection)}
    return tuple(sorted({1} | own))


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
    rows = torch.as_tensor(units, device=activation.device)
    fill = torch.as_tensor(values[units]).to(activation)
    edited[:, rows] = fill[None, :, None, None].expand(-1, -1, *activation.shape[2:])
    return edited


def losses(
    study: Dissect,
    clean: np.ndarray,
    edited: np.ndarray,
    random: Sequence[np.ndarray],
    sampling: Sampling,
) -> tuple[Loss, ...]:
    """Losses of every class under every edit, from IoU: clean [n, k], edited [n, e, k].

    `random` [n, r, k], for each edit, are random sets of as many units. A loss is shown by two
    tests: over what is counted, that it exceeds the mean of random sets; over sets, that it is more
    than one further random set would lose. All edits and classes are one family.
    """
    cells, asked, by_sets = [], [], []
    for class_id, column in enumerate(clean.T):
        rows = np.flatnonzero(np.isfinite(column))
        for edit in range(edited.shape[1] if len(rows) else 0):
            base = column[rows]
            null = random[edit][rows, :, class_id] - base[:, None]
            change = edited[rows, edit, class_id] - base
            cells.append((edit, class_id, base, change, null))
            asked.append(Question(change - null.mean(1), sampling.at(rows)))
            lost = change.mean() < 0  # what gains has lost nothing, whatever random sets do
            by_sets.append(prediction_p(float(change.mean()), null.mean(0)) if lost else 1.0)
    also = [given(by_sets, 0.0, n=study.random_sets, of="random sets")]
    tests = judge(asked, side="less", seed=study.seed, also=also)
    result = []
    for cell, question, test in zip(cells, asked, tests, strict=True):
        edit, class_id, base, change, null = cell
        estimate = question.sampling.mean(change)
        reach = np.fmax(test.detectable, detectable_draw(null.mean(0), test.level))
        result.append(
            Loss(
                edit,
                class_id,
                images=len(base),
                clean=float(base.mean()),
                change=estimate,
                random=float(null.mean()),
                test=test,
                detectable=float(reach) if test.testable else float("nan"),
                used=test.passed and estimate.value <= -study.smallest_effect and estimate.below(0),
            )
        )
    return tuple(result)

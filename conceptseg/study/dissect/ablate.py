"""Third sweep: what each class loses when a concept's units are ablated, against random units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.network.record import Tail
from conceptseg.stats.corrections import attainable, holm
from conceptseg.stats.intervals import bootstrap_interval, detectable_effect
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.p_values import prediction_p, sign_flip_floor, sign_flip_p
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.shared.overlap import class_iou

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.dissect.config import Dissect
    from conceptseg.study.dissect.pilot import Plan

ALPHA = 0.05
NAN = float("nan")


@dataclass(frozen=True)
class Loss:
    """What ablating some units does to a class.

    `change` of its IoU with its 95 % interval, `random` that of random sets of as many units, `p`
    of a loss beyond that of random sets, `p_holm` corrected; `detectable` the smallest loss beyond
    random sets that would have been shown; `used` whether the loss counts.
    """

    edit: int
    class_id: int
    images: int
    clean: float
    change: float
    interval: tuple[float, float]
    random: float
    p: float
    p_holm: float
    detectable: float
    used: bool


@dataclass(frozen=True)
class Ablations:
    """`concepts` whose units were ablated together, `cards` (places in live) one by one.

    `sets` are the units of each concept, places in live; `losses` of concepts and of single units,
    their `edit` counting in `concepts` and `cards`; `labelled` of `images` had labels.
    """

    concepts: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    cards: tuple[int, ...]
    concept_losses: tuple[Loss, ...]
    unit_losses: tuple[Loss, ...]
    images: int
    labelled: int
    value: str


@dataclass(frozen=True)
class Ablate(Pass):
    """The tail of the network runs once per image for each concept, shown unit and random set."""

    study: Dissect

    name = "ablate"
    cost = "1 forward + 1 tail per concept, shown unit and random set, per image"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        found: Detection = carry["detection"]
        return [s for s in context.manifest.samples if s.id in found.held.tables]

    def forwards(self, context: Context) -> float:
        """With a concept for every second shown unit, five sizes, and a tail for half a pass."""
        study, classes = self.study, len(context.model.classes)
        images = min(len(context.manifest.samples), study.ablate_images * classes)
        edits = 1.5 * study.cards + 5 * study.random_sets
        return images * (1 + 0.5 * edits)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        found: Detection = carry["detection"]
        k = len(context.model.classes)
        with torch.no_grad():
            tail = Tail.of(context.model, batch.images, context.layer)
            clean = tail.logits.argmax(1)
            labelled = torch.zeros(len(batch), dtype=torch.bool, device=clean.device)
            reference = clean
            if batch.labels is not None:
                labelled = (batch.labels >= 0).flatten(1).any(1)
                reference = torch.where(labelled[:, None, None], batch.labels, clean)
            rows = [class_iou(clean, reference, k)]
            values = replacement(self.study, found.plan)
            for units in edits(self.study, found, context.seed):
                edited = ablated(tail.activation, found.plan.live[list(units)], values)
                rows.append(class_iou(tail.resume(edited).argmax(1), reference, k))
            iou = torch.stack(rows, 1).cpu().numpy()
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {"iou": iou[i][None], "labelled": np.array([bool(labelled[i])])}
            table = table.merge(SampleTable.of(sample_id, one))
        return {"ablated": table}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        found: Detection = carry["detection"]
        table = state["ablated"]
        assert isinstance(table, SampleTable)
        study = self.study
        concepts, cards = ablated_concepts(study, found), shown_units(study, found)
        sets = tuple(concept_units(study, found, concept) for concept in concepts)
        iou = table.column("iou").astype(np.float64)
        clean, edited = iou[:, 0], iou[:, 1:]
        first = len(concepts) + len(cards)
        random = {
            size: edited[:, first + turn * study.random_sets :][:, : study.random_sets]
            for turn, size in enumerate(sizes(study, found))
        }
        member = [found.plan.member[sample_id] for sample_id in table.ids]
        null = [random[len(units)] for units in sets]
        together = losses(study, clean, edited[:, : len(concepts)], null, member)
        alone = edited[:, len(concepts) : first]
        single = losses(study, clean, alone, [random[1]] * len(cards), member)
        zero = not replacement(study, found.plan).any()
        ablations = Ablations(
            concepts,
            sets,
            cards,
            together,
            single,
            len(table.ids),
            int(table.column("labelled").sum()),
            "zero" if zero else "mean",
        )
        return {"ablations": ablations}


def edits(study: Dissect, found: Detection, seed: int) -> Iterator[tuple[int, ...]]:
    """Units that are ablated together, places in live: concepts, single units, random sets.

    Random units are drawn among all that are not dead, so they may be those of a concept.
    """
    for concept in ablated_concepts(study, found):
        yield concept_units(study, found, concept)
    for unit in shown_units(study, found):
        yield (unit,)
    for size in sizes(study, found):
        for draw in range(study.random_sets):
            rng = np.random.default_rng([seed, 14, size, draw])
            yield tuple(rng.choice(len(found.plan.live), size=size, replace=False).tolist())


def sizes(study: Dissect, found: Detection) -> tuple[int, ...]:
    """How many units are ablated at once: 1, and the sizes of the concepts' sets."""
    own = {len(concept_units(study, found, concept)) for concept in ablated_concepts(study, found)}
    return tuple(sorted({1} | own))


def ablated_concepts(study: Dissect, found: Detection) -> tuple[int, ...]:
    """The concepts that at least one unit detects."""
    return tuple(np.unique(found.chosen.concept[found.detector]).tolist())


def concept_units(study: Dissect, found: Detection, concept: int) -> tuple[int, ...]:
    """The units that are ablated for a concept, those that overlap it most first.

    All that overlap it by `min_overlap` on the images that did not choose, whatever their own
    concept: many units share what they detect, and the others would make up for a few that are
    gone. Their number is cut to a power of two, at most `ablate_units`, so that a few sizes of
    random sets serve all concepts.
    """
    enough = int((np.nan_to_num(found.grid[:, concept]) >= study.min_overlap).sum())
    count = max(1, min(enough, study.ablate_units))
    return tuple(found.best_units(concept, 2 ** (count.bit_length() - 1)).tolist())


def shown_units(study: Dissect, found: Detection) -> tuple[int, ...]:
    """Units with a card: the best detector of each concept, then the second best, and so on.

    Units that detect nothing follow, those with the largest overlap first.
    """
    above = found.scored.above_chance
    turns: list[tuple[int, float, int]] = []
    for concept in np.unique(found.chosen.concept).tolist():
        own = found.detectors(concept)
        turns += [(turn, -float(above[unit]), int(unit)) for turn, unit in enumerate(own)]
    order = [unit for _, _, unit in sorted(turns)]
    idle = np.flatnonzero(~found.detector)
    order += idle[np.argsort(-above[idle], kind="stable")].tolist()
    return tuple(order[: study.cards])


def replacement(study: Dissect, plan: Plan) -> np.ndarray:
    """What each unit of the layer is set to when it is ablated, [units]."""
    to_zero = study.ablate == "zero" or (study.ablate == "auto" and plan.lowest >= 0)
    return np.zeros(plan.units) if to_zero else plan.mean


def ablated(activation: Tensor, units: np.ndarray, values: np.ndarray) -> Tensor:
    """The activation [n, u, y, x] with some units (of the layer) set to values [u] everywhere."""
    import torch

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
    member: Sequence[str],
) -> tuple[Loss, ...]:
    """Losses of every class under every edit, from IoU: clean [n, k], edited [n, e, k].

    `random` [n, r, k], for each edit, are random sets of as many units. p is the larger of two:
    over images, that the loss exceeds the mean of random sets (signs of what counts in tests are
    flipped); over sets, that it is more than one further random set would lose. Holm over all
    edits and classes, but for classes of so few images that no loss could pass it: nan.
    """
    found: list[Loss] = []
    held = [np.flatnonzero(np.isfinite(row)).tolist() for row in clean.T]
    counted = [len({member[i] for i in good}) for good in held]
    family = attainable(
        [sign_flip_floor(n, "less") for n in counted for _ in range(edited.shape[1]) if n], ALPHA
    )
    tests = max(1, int(family.sum()))
    for class_id, good in enumerate(held):
        if not good:
            continue
        base = clean[good, class_id]
        names = [member[i] for i in good]
        for edit in range(edited.shape[1]):
            null = random[edit][good, :, class_id] - base[:, None]
            change = edited[good, edit, class_id] - base
            found.append(_loss(study, edit, class_id, base, change, null, names, tests))
    adjusted = np.full(len(found), NAN)
    adjusted[family] = holm([loss.p for loss, able in zip(found, family, strict=True) if able])
    return tuple(
        Loss(
            **{
                **vars(loss),
                "p_holm": float(p),
                "used": bool(
                    p <= ALPHA and loss.change <= -study.smallest_effect and loss.interval[1] < 0
                ),
            }
        )
        for loss, p in zip(found, adjusted, strict=True)
    )


def _loss(
    study: Dissect,
    edit: int,
    class_id: int,
    base: np.ndarray,
    change: np.ndarray,
    null: np.ndarray,
    names: list[str],
    tests: int,
) -> Loss:
    excess = change - null.mean(1)
    p = 1.0
    if change.mean() < 0:
        over_images = sign_flip_p(excess, names, seed=study.seed, side="less", tests=tests)
        p = max(over_images, prediction_p(float(change.mean()), null.mean(0)))
    return Loss(
        edit,
        class_id,
        len(base),
        float(base.mean()),
        float(change.mean()),
        bootstrap_interval(change, names, seed=study.seed),
        float(null.mean()),
        p,
        NAN,
        smallest_shown(excess, names, null.mean(0), tests),
        False,
    )


def smallest_shown(excess: np.ndarray, names: Sequence[str], sets: np.ndarray, tests: int) -> float:
    """The loss beyond random sets that would have been shown, of so many tests, with power 0.8.

    The larger of what the images and of what the random sets `sets` [r] allow, at the level that
    correction leaves to a single test.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    level = ALPHA / tests
    over_images = detectable_effect(excess, names, level=level)
    if len(sets) < 2:
        return NAN
    reach = student.ppf(1 - level, len(sets) - 1) + norm.ppf(0.8)
    return float(max(over_images, reach * sets.std(ddof=1) * np.sqrt(1 + 1 / len(sets))))

"""From counts to what each unit detects: its concept, how surely, and a formula. No network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Context, State
from conceptseg.errors import InputError
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.dissect.formulas import Explained, explain
from conceptseg.study.dissect.kept import Kept, Masks, masks
from conceptseg.study.dissect.measures import (
    Overlaps,
    auroc,
    average_precision,
    choose_edges,
    overlaps,
)
from conceptseg.study.dissect.permute import PUBLISHED_IOU, PUBLISHED_QUANTILE, Permuted, permuted
from conceptseg.study.dissect.pilot import Plan
from conceptseg.study.dissect.rotate import Rotated, rotated
from conceptseg.study.dissect.tally import HALVES

if TYPE_CHECKING:
    from conceptseg.study.dissect.config import Dissect

ALPHA = 0.05
BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Chosen:
    """Of each unit [v], chosen on the first half: its concept, quantile, tail and threshold.

    `concept` index of the vocabulary; `quantile` index of those tried; `low` whether it is active
    where its value is low; `threshold` the value itself.
    """

    concept: np.ndarray
    quantile: np.ndarray
    low: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Detection:
    """All that the sweep found.

    `chosen` and `scored` (on the other half, [v]) are of each unit's own concept, `interval`
    [v, 2] that of its overlap above chance, nan where too few kept images show the concept. `grid`
    [v, l] is the overlap above chance of each unit with each concept at the threshold that suits
    the pair best on the first half, scored on the other; `grid_normalised`, `auroc` and
    `precision` likewise [v, l]. `curve` [v, q] overlaps of each unit with its concept at every
    quantile, on all images. `published_*` [v] follow the published rule on all images. `images`
    [l] in which a concept is seen, `share` [l] of the annotated pixels that show it, `allowed` the
    concepts that are seen often enough.
    """

    plan: Plan
    quantiles: tuple[float, ...]
    chosen: Chosen
    scored: Overlaps
    interval: np.ndarray
    grid: np.ndarray
    grid_normalised: np.ndarray
    auroc: np.ndarray
    precision: np.ndarray
    curve: Overlaps
    active_share: np.ndarray
    published_iou: np.ndarray
    published_concept: np.ndarray
    p_bh: np.ndarray
    detector: np.ndarray
    permuted: Permuted
    rotated: Rotated
    formulas: tuple[Explained, ...]
    images: np.ndarray
    share: np.ndarray
    allowed: np.ndarray
    top: TopSamples
    held: SampleTable
    samples: int

    def detectors(self, concept: int) -> np.ndarray:
        """The units that detect a concept, places in `plan.live`, the best first."""
        own = np.flatnonzero(self.detector & (self.chosen.concept == concept))
        return own[np.argsort(-self.scored.above_chance[own], kind="stable")]

    def exemplars(self, unit: int) -> list[tuple[str, float]]:
        """The images on which a unit answers most, and its extreme value there."""
        low = bool(self.chosen.low[unit])
        found = self.top.row(unit + low * len(self.plan.live))
        return [(sample_id, -value if low else value) for sample_id, value in found]

    def best_units(self, concept: int, count: int) -> np.ndarray:
        """The units that overlap a concept most, places in `plan.live`, the best first."""
        return np.argsort(-self.grid[:, concept], kind="stable")[:count]


def detect(study: Dissect, context: Context, plan: Plan, state: State) -> Detection:
    """Choose, score and test each unit's concept.

    Raises InputError when no concept is seen in enough images of both halves.
    """
    halves = [_counts(state, name, plan, study.bins) for name in HALVES]
    table, top, held, seen = (state[name] for name in ("kept", "top", "held", "seen"))
    assert isinstance(table, SampleTable) and isinstance(seen, SampleTable)
    assert isinstance(top, TopSamples) and isinstance(held, SampleTable)
    images, allowed = _allowed(study, plan, seen)
    whole = halves[0] + halves[1]
    vocabulary = plan.vocabulary
    mass = vocabulary.mass(whole)
    edges = np.stack([choose_edges(mass, study.quantiles, low) for low in (False, True)], axis=1)
    choose, score, both = (_two_tails(c, edges, plan) for c in (halves[0], halves[1], whole))
    chosen, place = _chosen(choose.above_chance, allowed, edges, plan)
    grid = _at_best(choose.above_chance, score)
    scored = Overlaps(*(_own(part, place) for part in _parts(score)))
    at_published = choose_edges(mass, (PUBLISHED_QUANTILE,))
    iou = _only(overlaps(whole, at_published, vocabulary).iou[:, 0], allowed)
    kept = Kept.of(plan, table)
    halves_bits = [
        masks(kept, half, chosen.threshold, chosen.low, chosen.concept) for half in (0, 1)
    ]
    chance = _permuted(study, context, kept, chosen, at_published, allowed)
    p_bh = benjamini_hochberg(chance.p)
    held_pixels, known_pixels = vocabulary.per_concept(whole.sum(1)[0])
    units = np.arange(len(plan.live))
    active = both.active[units, chosen.low.astype(int), :, chosen.concept]
    return Detection(
        plan=plan,
        quantiles=study.quantiles,
        chosen=chosen,
        scored=scored,
        interval=_intervals(study, plan, halves_bits[1], scored.above_chance, seen, context.seed),
        grid=_only(grid.above_chance, allowed),
        grid_normalised=_only(grid.normalised, allowed),
        auroc=auroc(whole, vocabulary),
        precision=average_precision(whole, vocabulary),
        curve=Overlaps(*(_curve(part, chosen) for part in _parts(both))),
        active_share=active / np.maximum(known_pixels[chosen.concept], 1)[:, None],
        published_iou=np.nanmax(iou, axis=1),
        published_concept=np.nanargmax(iou, axis=1),
        p_bh=p_bh,
        detector=(p_bh <= ALPHA) & (scored.above_chance >= study.min_overlap),
        permuted=chance,
        rotated=_rotated(study, context, kept, allowed),
        formulas=_formulas(study, halves_bits, allowed),
        images=images,
        share=held_pixels / np.maximum(known_pixels, 1),
        allowed=allowed,
        top=top,
        held=held,
        samples=len(seen.ids),
    )


def _permuted(
    study: Dissect,
    context: Context,
    kept: Kept,
    chosen: Chosen,
    published: np.ndarray,
    allowed: np.ndarray,
) -> Permuted:
    """The test of each unit at its threshold; `published` [v, 1] are edges of the published one."""
    edges = kept.plan.bins.edges
    return permuted(
        kept,
        chosen.threshold,
        chosen.low,
        chosen.concept,
        np.take_along_axis(edges, published, axis=1)[:, 0],
        allowed,
        draws=study.permutations,
        min_overlap=study.min_overlap,
        seed=context.seed,
    )


def _rotated(study: Dissect, context: Context, kept: Kept, allowed: np.ndarray) -> Rotated:
    return rotated(
        kept,
        allowed,
        study.quantiles,
        draws=study.rotations,
        min_overlap=study.min_overlap,
        seed=context.seed,
    )


def _counts(state: State, name: str, plan: Plan, bins: int) -> np.ndarray:
    found = state.get(name)
    if isinstance(found, JointCounts) and found.counts is not None:
        return found.counts
    return np.zeros((len(plan.live), bins, plan.vocabulary.slots), dtype=np.int64)


def _allowed(study: Dissect, plan: Plan, seen: SampleTable) -> tuple[np.ndarray, np.ndarray]:
    """In how many images each concept is seen [l], and those seen often enough in both halves."""
    shows = seen.column("shows")
    half = np.array([plan.half[sample_id] for sample_id in seen.ids])
    least = np.minimum(shows[half == 0].sum(0), shows[half == 1].sum(0))
    allowed = np.flatnonzero(least >= study.min_images)
    if not len(allowed):
        raise InputError(
            f"min_images: no concept is seen in {study.min_images} images of either half of the "
            f"{len(shows)}; give more images or lower min_images"
        )
    return shows.sum(0), allowed


def _two_tails(counts: np.ndarray, edges: np.ndarray, plan: Plan) -> Overlaps:
    """Overlaps [v, 2, q, l]: of high values, and of low ones for units whose low values count."""
    found = [overlaps(counts, edges[:, t], plan.vocabulary, bool(t)) for t in (0, 1)]
    one_sided = ~plan.two_sided[:, None, None]
    shared, active = (
        np.stack([getattr(found[0], name), np.where(one_sided, 0, getattr(found[1], name))], axis=1)
        for name in ("shared", "active")
    )
    return Overlaps(shared, active, found[0].concept[:, None], found[0].annotated[:, None])


def _parts(one: Overlaps) -> list[np.ndarray]:
    shape = np.broadcast_shapes(one.shared.shape, one.concept.shape)
    return [
        np.broadcast_to(part, shape)
        for part in (one.shared, one.active, one.concept, one.annotated)
    ]


def _chosen(
    above: np.ndarray, allowed: np.ndarray, edges: np.ndarray, plan: Plan
) -> tuple[Chosen, tuple[np.ndarray, ...]]:
    """Each unit's best tail, quantile and concept by overlap above chance [v, 2, q, l]."""
    units = np.arange(len(above))
    flat = above[..., allowed].reshape(len(above), -1)
    tail, quantile, own = np.unravel_index(flat.argmax(1), (*above.shape[1:3], len(allowed)))
    concept = allowed[own]
    edge = edges[units, tail, quantile]
    threshold = plan.bins.edges[units, edge]
    chosen = Chosen(concept, quantile, tail.astype(bool), threshold)
    return chosen, (units, tail, quantile, concept)


def _own(values: np.ndarray, place: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.asarray(values[place])


def _curve(values: np.ndarray, chosen: Chosen) -> np.ndarray:
    units = np.arange(len(values))
    return np.asarray(values[units, chosen.low.astype(int), :, chosen.concept])


def _at_best(choose: np.ndarray, score: Overlaps) -> Overlaps:
    """Overlaps [v, l] at the tail and quantile that are best, for each pair, by `choose`."""
    v, tails, q, concepts = choose.shape
    best = choose.reshape(v, tails * q, concepts).argmax(1)[:, None]
    return Overlaps(
        *(
            np.take_along_axis(part.reshape(v, tails * q, concepts), best, axis=1)[:, 0]
            for part in _parts(score)
        )
    )


def _only(values: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Values [v, l] with nan for concepts that are not seen often enough."""
    result = np.full(values.shape, np.nan)
    result[:, allowed] = values[:, allowed]
    return result


def _intervals(
    study: Dissect, plan: Plan, bits: Masks, found: np.ndarray, seen: SampleTable, seed: int
) -> np.ndarray:
    """95 % intervals [v, 2] of the overlaps `found` [v], by drawing what counts in tests anew.

    It is drawn among the images whose maps are kept, which are a part of the half that `found` is
    of. So what the draws lie off the kept images' own overlap is taken from `found`, and made as
    much smaller as there are more of what is drawn. nan where a unit's concept is seen in fewer
    than `min_images` of the kept ones.
    """
    units = bits.counts.shape[2]
    names, member = np.unique(np.array(bits.member, dtype=np.str_), return_inverse=True)
    if len(names) < 2:
        return np.full((units, 2), np.nan)
    sums = np.zeros((len(names), 4 * units))
    np.add.at(sums, member, bits.counts.reshape(len(member), -1).astype(np.float64))
    rng = np.random.default_rng([seed, 13])
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=BOOTSTRAPS)
    drawn = (weights.astype(np.float64) @ sums).reshape(BOOTSTRAPS, 4, units)
    values = Overlaps(*(drawn[:, part] for part in range(4))).above_chance
    own = Overlaps(*sums.sum(0).reshape(4, units)).above_chance
    everyone = {plan.member[s] for s in seen.ids if plan.half[s] == 1}
    share = np.sqrt(len(names) / max(len(everyone), len(names)))
    ends = found + share * (np.quantile(values, [0.025, 0.975], axis=0) - own)
    few = (bits.counts[:, 2] > 0).sum(0) < study.min_images
    return np.where(few, np.nan, np.clip(ends, -1, 1)).T


def _formulas(study: Dissect, halves: list[Masks], allowed: np.ndarray) -> tuple[Explained, ...]:
    return tuple(
        explain(
            halves[0],
            halves[1],
            unit,
            allowed,
            length=study.formula_length,
            beam=study.beam,
            penalty=study.length_penalty,
        )
        for unit in range(len(halves[0].units))
    )


def published_detector(detection: Detection) -> np.ndarray:
    """Which units the published rule calls detectors, bool [v]."""
    return detection.published_iou > PUBLISHED_IOU

"""From counts to what each unit detects: its concept, the evidence, a formula. No network."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.fits import all_of
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.formulas import Explained, explain_each
from conceptseg.study.dissect.kept import Chosen, Kept, Masks, masks
from conceptseg.study.dissect.measures import (
    Overlaps,
    auroc,
    average_precision,
    choose_edges,
    overlaps,
)
from conceptseg.study.dissect.permute import PUBLISHED_IOU, PUBLISHED_QUANTILE, Permuted, permuted
from conceptseg.study.dissect.pilot import PLAN, Plan
from conceptseg.study.dissect.rotate import rotated
from conceptseg.study.dissect.tally import COUNTS, HELD, KEPT, SEEN, TOP


@dataclass(frozen=True)
class Detection:
    """What units detect, by the one sweep.

    `chosen` and `scored` (on the other half, [v]) are of each unit's own concept; `overlap` [v] is
    its overlap above chance, without an interval where too few kept images show the concept. `grid`
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
    overlap: tuple[Estimate, ...]
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
    rotated: tuple[dict[str, float], ...]
    formulas: tuple[Explained, ...]
    images: np.ndarray
    share: np.ndarray
    allowed: np.ndarray
    top: TopSamples
    held: SampleTable

    @property
    def published_detector(self) -> np.ndarray:
        """Which units the published rule calls detectors, bool [v]."""
        return self.published_iou > PUBLISHED_IOU

    def detectors(self, concept: int) -> np.ndarray:
        """The units that detect a concept, places in `plan.live`, the best first."""
        own = np.flatnonzero(self.detector & (self.chosen.concept == concept))
        return own[np.argsort(-self.scored.above_chance[own], kind="stable")]

    def exemplars(self, unit: int) -> list[tuple[str, float]]:
        """The images on which a unit answers most, and its extreme value there."""
        low = bool(self.chosen.low[unit])
        ends = self.top.row(unit + low * len(self.plan.live))
        return [(sample_id, -value if low else value) for sample_id, value in ends]

    def best_units(self, concept: int, count: int) -> np.ndarray:
        """The units that overlap a concept most, places in `plan.live`, the best first."""
        return np.argsort(-self.grid[:, concept], kind="stable")[:count]


UNITS = 16
"""Units whose formulas are found by one call."""
DETECTION = Key("detection", Detection)


def detect(study: Dissect, context: Context, known: Known) -> Known:
    """Choose, score and test each unit's concept.

    Raises InputError when no concept is seen in enough images of both halves.
    """
    plan, seen = known[PLAN], known[SEEN]
    halves = [_counts(known, half, plan, study.bins) for half in (0, 1)]
    images, allowed = _allowed(study, plan, seen)
    whole, vocabulary = halves[0] + halves[1], plan.vocabulary
    mass = vocabulary.mass(whole)
    edges = np.stack([choose_edges(mass, study.quantiles, low) for low in (False, True)], axis=1)
    choose, score, both = (_two_tails(c, edges, plan) for c in (halves[0], halves[1], whole))
    chosen, place = _chosen(choose.above_chance, allowed, edges, plan)
    grid = _at_best(choose.above_chance, score)
    scored = score.each(lambda part: part[place])
    at_published = choose_edges(mass, (PUBLISHED_QUANTILE,))
    iou = _only(overlaps(whole, at_published, vocabulary).iou[:, 0], allowed)
    kept = Kept.of(plan, known[KEPT])
    bits = [masks(kept, half, chosen) for half in (0, 1)]
    published = np.take_along_axis(plan.bins.edges, at_published, axis=1)[:, 0]
    least, seed = study.min_overlap, context.seed
    chance = permuted(
        kept, chosen, published, allowed, study.permutations, min_overlap=least, seed=seed
    )
    p_bh = benjamini_hochberg(chance.p)
    held_pixels, known_pixels = vocabulary.per_concept(whole.sum(1)[0])
    own = (np.arange(len(plan.live)), chosen.low.astype(int), slice(None), chosen.concept)
    detection = Detection(
        plan=plan,
        quantiles=study.quantiles,
        chosen=chosen,
        scored=scored,
        overlap=_overlap(study, plan, bits[1], scored.above_chance, seen),
        grid=_only(grid.above_chance, allowed),
        grid_normalised=_only(grid.normalised, allowed),
        auroc=auroc(whole, vocabulary),
        precision=average_precision(whole, vocabulary),
        curve=both.each(lambda part: part[own]),
        active_share=both.active[own] / np.maximum(known_pixels[chosen.concept], 1)[:, None],
        published_iou=np.nanmax(iou, axis=1),
        published_concept=np.nanargmax(iou, axis=1),
        p_bh=p_bh,
        detector=(p_bh <= ALPHA) & (scored.above_chance >= study.min_overlap),
        permuted=chance,
        rotated=rotated(
            kept, allowed, study.quantiles, study.rotations, min_overlap=least, seed=seed
        ),
        formulas=_formulas(study, bits[0], bits[1], allowed),
        images=images,
        share=held_pixels / np.maximum(known_pixels, 1),
        allowed=allowed,
        top=known[TOP],
        held=known[HELD],
    )
    return DETECTION(detection)


def _counts(known: Known, half: int, plan: Plan, bins: int) -> np.ndarray:
    """The counts of one half of the images, [v, b, s]; zeros where it has none."""
    counts = known.get(COUNTS[half], JointCounts()).counts
    empty = np.zeros((len(plan.live), bins, plan.vocabulary.slots), dtype=np.int64)
    return empty if counts is None else counts


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
    tails = [overlaps(counts, edges[:, t], plan.vocabulary, bool(t)) for t in (0, 1)]
    one_sided = ~plan.two_sided[:, None, None]
    shared, active = (
        np.stack([getattr(tails[0], name), np.where(one_sided, 0, getattr(tails[1], name))], axis=1)
        for name in ("shared", "active")
    )
    return Overlaps(shared, active, tails[0].concept[:, None], tails[0].annotated[:, None])


def _chosen(
    above: np.ndarray, allowed: np.ndarray, edges: np.ndarray, plan: Plan
) -> tuple[Chosen, tuple[np.ndarray, ...]]:
    """Each unit's best tail, quantile and concept by overlap above chance [v, 2, q, l]."""
    units = np.arange(len(above))
    flat = above[..., allowed].reshape(len(above), -1)
    tail, quantile, own = np.unravel_index(flat.argmax(1), (*above.shape[1:3], len(allowed)))
    concept = allowed[own]
    threshold = plan.bins.edges[units, edges[units, tail, quantile]]
    return Chosen(concept, quantile, tail.astype(bool), threshold), (units, tail, quantile, concept)


def _at_best(choose: np.ndarray, score: Overlaps) -> Overlaps:
    """Overlaps [v, l] at the tail and quantile that are best, for each pair, by `choose`."""
    flat = (len(choose), -1, choose.shape[3])
    best = choose.reshape(flat).argmax(1)[:, None]
    return score.each(lambda part: np.take_along_axis(part.reshape(flat), best, axis=1)[:, 0])


def _only(values: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Values [v, l] with nan for concepts that are not seen often enough."""
    return np.where(np.isin(np.arange(values.shape[1]), allowed), values, np.nan)


def _overlap(
    study: Dissect, plan: Plan, bits: Masks, above: np.ndarray, seen: SampleTable
) -> tuple[Estimate, ...]:
    """The overlaps `above` chance [v] with their intervals.

    Draws are among the images whose maps are kept, which are a part of the half that `above` is of.
    So what the draws lie off the kept images' own overlap is taken from `above`, and made as much
    smaller as there are more of what is drawn. There is no interval where a unit's concept is seen
    in fewer than `min_images` of the kept ones.
    """
    sampling, counts = bits.sampling, bits.counts.astype(np.float64)
    sums = sampling.weights() @ counts.reshape(len(counts), -1)
    drawn = Overlaps(*sums.reshape(sampling.draws, *counts.shape[1:]).swapaxes(0, 1)).above_chance
    everyone = plan.sampling.named([name for name in seen.ids if plan.half[name] == 1]).n
    share = np.sqrt(sampling.n / max(everyone, sampling.n, 1))
    off = share * (drawn - Overlaps(*counts.sum(0)).above_chance)
    off[:, (counts[:, 2] > 0).sum(0) < study.min_images] = np.nan
    values = np.clip(above + off, -1, 1)
    return tuple(sampling.of_draws(v, d) for v, d in zip(above.tolist(), values.T, strict=True))


def _formulas(
    study: Dissect, choose: Masks, score: Masks, allowed: np.ndarray
) -> tuple[Explained, ...]:
    settings = {
        "length": study.formula_length,
        "beam": study.beam,
        "penalty": study.length_penalty,
    }
    units = range(len(choose.units))
    blocks = [(units[first : first + UNITS],) for first in range(0, len(units), UNITS)]
    found = all_of(explain_each, blocks, choose, score, allowed, settings)
    return tuple(one for block in found for one in block)

"""Numbers of L-CRP with their uncertainty, from what the sweeps found. No network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.intervals import bootstrap_interval, detectable_at
from conceptseg.stats.p_values import sign_flip_p, smallest_p
from conceptseg.study.lcrp.background import Sensitivity
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.maps import Found
from conceptseg.study.lcrp.ranks import able_channels
from conceptseg.study.lcrp.shuffles import Shuffles

if TYPE_CHECKING:
    from conceptseg.study.lcrp.config import Lcrp

ALPHA = 0.05
LEAST_IMAGES = 5
"""On fewer images an interval is no proof that a channel does not act from context."""
NAN = float("nan")
NOTHING = (NAN, NAN)


Verdict = Literal["acts", "does not", "cannot be told"]


@dataclass(frozen=True)
class Score:
    """One channel for one class.

    `relevance`: mean share of |relevance|, `spread` its deviation over images. `top`: context
    score over the most relevant images, as published; `context` over images drawn at random;
    `over_shuffled`, `over_field`: mean of its paired excess, image by image, over what shuffled
    networks show and over the receptive field's.

    `p_images`, one-sided by sign flips: whether new images would show an excess over shuffled
    networks, or, where fewer than three have relevance (`over_shuffled` is nan then), over the
    field; `p_least`: the smallest that it can be with so many images. `p_networks`: whether a
    shuffled network has any channel so far above their mean. `p_adjusted`: the larger of
    `p_images`, after Benjamini and Hochberg over all channels and classes, and of `p_networks`,
    which is corrected by its making. All nan where the channel is not tested. `detectable`: the
    excess from which on both would, with power 0.8, be small enough.

    `latent`, `by_activation`: `top` of the channel's relevance and activation at the layer.
    `sensitivity`: change of its relevance when the
    background is replaced, over `sensitivity_images`. `tile`, `tile_chance`: part of the mass
    outside of the object that lies on the known context, and of the area. `seen_on`: the label,
    not the class's own, that most of the mass lies on, and the share of it.
    """

    class_id: int
    unit: int
    rank: int
    relevance: float
    spread: float
    top: float
    top_ci: tuple[float, float]
    top_images: int
    context: float
    context_ci: tuple[float, float]
    images: int
    over_shuffled: float
    over_shuffled_ci: tuple[float, float]
    over_field: float
    over_field_ci: tuple[float, float]
    p_images: float
    p_networks: float
    p_adjusted: float
    p_least: float
    detectable: float
    latent: float
    by_activation: float
    sensitivity: float
    sensitivity_ci: tuple[float, float]
    sensitivity_images: int
    tile: float
    tile_chance: float
    seen_on: int
    seen_share: float

    @property
    def acts(self) -> bool:
        """Whether it acts from context: more of its map is context than of networks that have
        learnt nothing, significantly so after correction, and more than of an even spread over
        the receptive field."""
        return self.excess > 0 and self.over_field > 0 and self.p_adjusted <= ALPHA

    @property
    def verdict(self) -> Verdict:
        """Whether it acts from context, was shown not to (all of an interval lies below one of
        the two baselines), or cannot be told."""
        if self.acts:
            return "acts"
        ends = (self.over_shuffled_ci[1], self.over_field_ci[1])
        below = self.images >= LEAST_IMAGES and any(end < 0 for end in ends)
        return "does not" if below else "cannot be told"

    @property
    def shuffled(self) -> bool:
        """Whether there are shuffled networks to compare with."""
        return bool(np.isfinite(self.over_shuffled))

    @property
    def excess(self) -> float:
        """What the p-values test: the excess over shuffled weights, or else the even spread."""
        return self.over_shuffled if self.shuffled else self.over_field

    def corrected(self, p_images: float) -> float:
        """`p_adjusted`, given `p_images` after correction: nan where there are shuffled networks
        to compare with and the channel was not, since what was not tested may not pass."""
        if not self.shuffled:
            return p_images
        return float(np.maximum(p_images, self.p_networks))

    @property
    def p(self) -> float:
        """The larger of the two p-values, before correction over channels."""
        return self.corrected(self.p_images)


def assess(
    study: Lcrp,
    chosen: Chosen,
    maps: Found,
    control: Shuffles,
    sensitivity: Mapping[tuple[int, int], Sensitivity],
) -> list[Score]:
    """The scores of every chosen channel, in the order of classes and relevance."""
    tests = sum(
        k in able_channels(chosen.mean[c], study.concepts)
        for c in chosen.classes
        for k in chosen.concepts[c]
    )
    found = [
        _score(study, chosen, maps, control, sensitivity.get((c, k)), c, k, rank, tests)
        for c in chosen.classes
        for rank, k in enumerate(chosen.concepts[c], start=1)
    ]
    able = [i for i, score in enumerate(found) if np.isfinite(score.p_images)]
    adjusted = benjamini_hochberg([found[i].p_images for i in able])
    for i, p in zip(able, adjusted.tolist(), strict=True):
        found[i] = replace(found[i], p_adjusted=found[i].corrected(p))
    return found


def _score(
    study: Lcrp,
    chosen: Chosen,
    maps: Found,
    control: Shuffles,
    sensitivity: Sensitivity | None,
    class_id: int,
    unit: int,
    rank: int,
    tests: int,
) -> Score:
    best = maps.rows(class_id, unit, [s for s, _ in chosen.relevant[class_id, unit]])
    best = best[maps.columns["mass"][best] > 0]
    drawn = maps.rows(class_id, unit, chosen.drawn(class_id, study.random_images))
    drawn = drawn[maps.columns["mass"][drawn] > 0]
    context = maps.columns["context"]
    top_groups = [chosen.groups[str(s)] for s in maps.columns["sample"][best]]
    groups = [chosen.groups[str(s)] for s in maps.columns["sample"][drawn]]
    known = drawn[np.isfinite(maps.columns["tile"][drawn])]
    seen_on, seen_share = _seen(maps.labels[drawn], class_id)
    changed = sensitivity or Sensitivity.of([])
    return Score(
        class_id=class_id,
        unit=unit,
        rank=rank,
        relevance=float(chosen.mean[class_id][unit]),
        spread=float(chosen.spread[class_id][unit]),
        top=_mean(context[best]),
        top_ci=interval(context[best], top_groups, study.seed),
        top_images=len(best),
        context=_mean(context[drawn]),
        context_ci=interval(context[drawn], groups, study.seed),
        images=len(drawn),
        **_tested(study, chosen, maps, control, class_id, unit, drawn, tests),
        p_adjusted=NAN,
        latent=_mean(maps.columns["latent"][best]),
        by_activation=_mean(maps.columns["by_activation"][best]),
        sensitivity=changed.value,
        sensitivity_ci=changed.interval(chosen.groups, study.seed),
        sensitivity_images=len(changed.samples),
        tile=_mean(maps.columns["tile"][known]),
        tile_chance=_mean(maps.columns["chance"][known]),
        seen_on=seen_on,
        seen_share=seen_share,
    )


def _tested(
    study: Lcrp,
    chosen: Chosen,
    maps: Found,
    control: Shuffles,
    class_id: int,
    unit: int,
    drawn: np.ndarray,
    tests: int,
) -> dict[str, Any]:
    """A channel's excess over both baselines on its rows `drawn`, and the tests of it."""
    context = maps.columns["context"][drawn]
    samples = [str(s) for s in maps.columns["sample"][drawn]]
    groups = [chosen.groups[s] for s in samples]
    shuffled = control.baseline(class_id, maps.field, samples)
    field = np.array([maps.field.get((s, class_id), NAN) for s in samples], np.float64)
    over = paired(context - shuffled, groups, study.seed)
    beyond = paired(context - field, groups, study.seed)
    found: dict[str, Any] = {
        "over_shuffled": over[0],
        "over_shuffled_ci": over[1],
        "over_field": beyond[0],
        "over_field_ci": beyond[1],
        **dict.fromkeys(("p_images", "p_networks", "p_least", "detectable"), NAN),
    }
    against_shuffled = bool(np.isfinite(shuffled).any())
    change = context - (shuffled if against_shuffled else field)
    able = np.isfinite(change)
    if able.any() and unit in able_channels(chosen.mean[class_id], study.concepts):
        mine = [g for g, there in zip(groups, able, strict=True) if there]
        draws = draws_for(tests)
        found["p_images"] = sign_flip_p(
            change[able], mine, seed=study.seed, side="greater", draws=draws
        )
        found["p_least"] = smallest_p(len(set(mine)), draws, "greater")
        found["detectable"] = detectable_at(change[able], mine, ALPHA / tests, "greater")
        if against_shuffled:
            speaks = dict(zip(chosen.images[class_id], chosen.through[class_id] > 0, strict=True))
            pairs = zip(samples, context.tolist(), strict=True)
            beside = {s: value for s, value in pairs if speaks[s]}
            found["p_networks"] = control.p(control.excess(class_id, beside))
            found["detectable"] = float(np.fmax(found["detectable"], control.needed(ALPHA)))
    return found


def draws_for(tests: int) -> int:
    """Sign patterns enough that one effect alone can outlive the correction for all tests."""
    return max(9999, math.ceil(2 * tests / ALPHA))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN


def interval(values: np.ndarray, groups: Sequence[str], seed: int) -> tuple[float, float]:
    return bootstrap_interval(values, groups, seed=seed) if len(values) else NOTHING


def paired(
    values: np.ndarray, groups: Sequence[str], seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean and interval of differences [n], one an image, those that are not known left out."""
    able = np.isfinite(values)
    mine = [g for g, there in zip(groups, able, strict=True) if there]
    return _mean(values[able]), interval(values[able], mine, seed)


def _seen(labels: np.ndarray, class_id: int) -> tuple[int, float]:
    """The label, not the class's own, with most of the maps' mass, and its share; -1 for none."""
    rows = labels[np.isfinite(labels).all(1)] if labels.size else labels
    total = rows.sum(1, keepdims=True)
    rows = rows[total[:, 0] > 0] / total[total[:, 0] > 0]
    if not len(rows):
        return -1, NAN
    share = rows.mean(0)
    share[class_id] = -1.0
    best = int(share.argmax())
    return best, float(share[best])


@dataclass(frozen=True)
class Agreement:
    """How well a context score foretells the measured sensitivity, over classes and channels.

    Pearson's correlation with its interval, and the root of the mean squared difference.
    """

    measure: str
    correlation: float
    ci: tuple[float, float]
    error: float
    pairs: int


MEASURES = {
    "L-CRP map, most relevant images (published)": "top",
    "L-CRP map, random images": "context",
    "relevance at the layer": "latent",
    "activation at the layer": "by_activation",
}


def agreements(scores: Sequence[Score], seed: int, draws: int = 2000) -> list[Agreement]:
    found = []
    for name, field in MEASURES.items():
        pairs = np.array([[getattr(s, field), s.sensitivity] for s in scores], np.float64)
        pairs = pairs[np.isfinite(pairs).all(1)] if len(pairs) else pairs.reshape(0, 2)
        rng = np.random.default_rng([seed, 6])
        ci = NOTHING
        if len(pairs) >= 5:
            drawn = rng.integers(0, len(pairs), (draws, len(pairs)))
            values = [pearson(pairs[rows, 0], pairs[rows, 1]) for rows in drawn]
            low, high = np.nanquantile(values, [0.025, 0.975])
            ci = (float(low), float(high))
        error = float(np.sqrt(((pairs[:, 0] - pairs[:, 1]) ** 2).mean())) if len(pairs) else NAN
        found.append(Agreement(name, pearson(pairs[:, 0], pairs[:, 1]), ci, error, len(pairs)))
    return found


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation, nan for fewer than three points or where one side is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    return float(np.corrcoef(x, y)[0, 1])

"""Numbers of L-CRP with their certainty, from what the sweeps measured. No network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test
from conceptseg.stats.intervals import ALPHA, GAPS, PORTIONS
from conceptseg.stats.ranks import spearman
from conceptseg.study.lcrp.background import SENSITIVITY, sensitivity
from conceptseg.study.lcrp.beyond import NETWORKS_SHARE, BeyondChance, judged
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.maps import MAPS
from conceptseg.study.lcrp.ranks import able_channels
from conceptseg.study.lcrp.shuffles import SHUFFLES

NAN = float("nan")


@dataclass(frozen=True)
class Score(BeyondChance):
    """One channel for one class.

    `relevance`: mean share of |relevance|, `spread` its deviation over images. `top`: context
    score over the most relevant images, as published; `context` over images drawn at random, which
    is what is held against chance.

    `latent`, `by_activation`: `top` of the channel's relevance and activation at the layer.
    `sensitivity`: change of its relevance when the background is replaced, over
    `sensitivity_images`. `tile`, `tile_chance`: part of the mass outside of the object that lies on
    the known context, and of the area. `seen_on`: the label, not the class's own, that most of the
    mass lies on, and the share of it.
    """

    class_id: int
    unit: int
    rank: int
    relevance: float
    spread: float
    top: Estimate
    top_images: int
    context: Estimate
    images: int
    latent: float
    by_activation: float
    sensitivity: Estimate
    sensitivity_images: int
    tile: float
    tile_chance: float
    seen_on: int
    seen_share: float

    @property
    def level(self) -> Estimate:
        return self.context


SCORES: Key[tuple[Score, ...]] = Key("scores", tuple)


class Excess(NamedTuple):
    """A channel's rows among the maps of images drawn at random, with those images, and by how
    much its score lies above both baselines in each."""

    rows: np.ndarray
    samples: list[str]
    over_shuffled: np.ndarray
    over_field: np.ndarray

    @property
    def tested(self) -> np.ndarray:
        known = np.isfinite(self.over_shuffled).any()
        return self.over_shuffled if known else self.over_field


def assess(study: Lcrp, context: Context, known: Known) -> Known:
    """The scores of every chosen channel, in the order of classes and relevance."""
    chosen = known[CHOSEN_PAIRS]
    excess = {(c, k): _excess(study, known, c, k) for c, k in chosen.pairs}
    able = {c: able_channels(chosen.mean[c], study.concepts) for c in chosen.classes}
    compared = any(np.isfinite(one.over_shuffled).any() for one in excess.values())
    tests = judged(
        {
            (c, k): Question(one.tested, chosen.sampling.named(one.samples))
            for (c, k), one in excess.items()
            if k in able[c] and np.isfinite(one.tested).any()
        },
        context.seed,
        1 - NETWORKS_SHARE if compared else 1.0,
    )
    return SCORES(tuple(_score(known, *pair, one, tests.get(pair)) for pair, one in excess.items()))


def _excess(study: Lcrp, known: Known, class_id: int, unit: int) -> Excess:
    maps, drawn = known[MAPS], known[CHOSEN_PAIRS].drawn(class_id, study.random_images)
    rows = maps.rows(class_id, unit, drawn)
    samples = [str(s) for s in maps.columns["sample"][rows]]
    shuffled = known[SHUFFLES].baseline(class_id, maps.field, samples)
    context = maps.columns["context"][rows]
    return Excess(rows, samples, context - shuffled, context - maps.fields(class_id, samples))


def _score(
    known: Known, class_id: int, unit: int, excess: Excess, over_images: Test | None
) -> Score:
    chosen, maps, shuffles = known[CHOSEN_PAIRS], known[MAPS], known[SHUFFLES]
    best = maps.rows(class_id, unit, [s for s, _ in chosen.relevant[class_id, unit]])
    drawn, context = excess.rows, maps.columns["context"]
    top = chosen.sampling.named([str(s) for s in maps.columns["sample"][best]])
    random = chosen.sampling.named(excess.samples)
    tile_known = drawn[np.isfinite(maps.columns["tile"][drawn])]
    seen_on, seen_share = _seen(maps.labels[drawn], class_id)
    changed = known[SENSITIVITY].get((class_id, unit), [])
    return Score(
        class_id=class_id,
        unit=unit,
        rank=1 + chosen.concepts[class_id].index(unit),
        relevance=float(chosen.mean[class_id][unit]),
        spread=float(chosen.spread[class_id][unit]),
        top=top.mean(context[best], within=PORTIONS),
        top_images=len(best),
        context=random.mean(context[drawn], within=PORTIONS),
        images=len(drawn),
        over_shuffled=random.mean(excess.over_shuffled, within=GAPS).widened(
            shuffles.margin(class_id, maps.field)
        ),
        over_field=random.mean(excess.over_field, within=GAPS),
        over_images=over_images,
        p_networks=_p_networks(known, class_id, excess) if over_images else NAN,
        needed=shuffles.detectable(ALPHA * NETWORKS_SHARE),
        latent=_mean(maps.columns["latent"][best]),
        by_activation=_mean(maps.columns["by_activation"][best]),
        sensitivity=sensitivity(changed, chosen.sampling),
        sensitivity_images=len(changed),
        tile=_mean(maps.columns["tile"][tile_known]),
        tile_chance=_mean(maps.columns["chance"][tile_known]),
        seen_on=seen_on,
        seen_share=seen_share,
    )


def _p_networks(known: Known, class_id: int, excess: Excess) -> float:
    """Whether a shuffled network has a channel as far above, on images that speak for the class."""
    chosen, shuffles = known[CHOSEN_PAIRS], known[SHUFFLES]
    if not np.isfinite(excess.over_shuffled).any():
        return NAN
    speaks = dict(zip(chosen.images[class_id], chosen.through[class_id] > 0, strict=True))
    context = known[MAPS].columns["context"][excess.rows].tolist()
    beside = {s: v for s, v in zip(excess.samples, context, strict=True) if speaks[s]}
    return shuffles.p(shuffles.excess(class_id, beside))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN


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
    """How well a context score predicts the measured sensitivity, over `pairs` of class and
    channel: rank correlation, Pearson's, and the root of the mean squared difference.

    The interval draws channels, each with all its classes: its scores and changes in them are not
    independent. Pearson's correlation has none: it hangs on the few largest numbers, and draws of
    them held it in 70 to 79 % of data sets where 95 % was said.
    """

    measure: str
    correlation: Estimate
    pearson: float
    error: float
    pairs: int


MEASURES = {
    "L-CRP map, most relevant images (published)": lambda score: score.top.value,
    "L-CRP map, random images": lambda score: score.context.value,
    "relevance at the layer": lambda score: score.latent,
    "activation at the layer": lambda score: score.by_activation,
}


def agreements(scores: Sequence[Score], seed: int) -> list[Agreement]:
    result = []
    for name, measure in MEASURES.items():
        pairs = np.array([[measure(s), s.sensitivity.value] for s in scores]).reshape(-1, 2)
        known = np.isfinite(pairs).all(1)
        channels = tuple(str(s.unit) for s in scores)
        sampling = Sampling(channels, channels, "channels", (seed, 6)).at(known)
        result.append(agreement(name, pairs[known], sampling))
    return result


def agreement(measure: str, pairs: np.ndarray, sampling: Sampling) -> Agreement:
    """Of scores with sensitivities, [m, 2]."""
    correlation = sampling.statistic(
        lambda rows: spearman(*pairs[rows].T) if len(rows) > 2 else NAN
    )
    linear = pearson(*pairs.T)
    error = float(np.sqrt((np.diff(pairs) ** 2).mean())) if len(pairs) else NAN
    return Agreement(measure, correlation, linear, error, len(pairs))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation, nan for fewer than three points or where one side is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    return float(np.corrcoef(x, y)[0, 1])

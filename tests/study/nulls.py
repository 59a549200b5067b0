"""Losses of IoU in which no class uses anything, and what ACE and dissection claim of them.

The losses are made as a network's edits make them, without a network: images of one group go
together, so do the concepts and the classes of an image; some groups count for much more than
others; classes are missing from some images, and groups hold from one to many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Literal

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.p_values import tail_p
from conceptseg.study.ace.assess import TESTED, assess
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import ERASURES, Erasures
from conceptseg.study.ace.findings import findings as uses
from conceptseg.study.ace.tcav import Influence
from conceptseg.study.dissect.ablate import Ablations, losses
from conceptseg.study.dissect.findings import findings as detected
from conceptseg.study.dissect.remaining import Remaining
from tests.study.ace import small
from tests.study.dissect.small import vocabulary
from tests.study.dissect.test_ablate import study as dissection

Tail = Literal["normal", "heavy", "few"]
Lacks = Literal["direction", "signs", "score", "any"]
IOU = 0.8


@dataclass(frozen=True)
class Shape:
    """What a data set is like.

    `tail`: groups' effects are "normal", of a scale that differs by group ("heavy"), or Student's
    with three degrees of freedom ("few" groups differ from all others). `lacks`, of the effects
    that a use needs, the one that no concept has: its loss is one more "direction"'s, as random
    ones cost; groups lose more or less than by random edits as often ("signs"); it moves the
    "score" as random concepts do; or one of the last two, by class ("any"). The other effects are
    there, as large as can be: so false claims are most frequent. `spread` is the law of what
    `random` edits cost in the mean.
    """

    groups: int
    lacks: Lacks
    tail: Tail = "heavy"
    concepts: int = 10
    classes: int = 5
    random: int = 20
    spread: Literal["normal", "skewed"] = "skewed"


@dataclass(frozen=True)
class Losses:
    """IoU [n, k] before, [n, q, k] without each concept, [n, q, r, k] without random edits (those
    of ACE are `random[:, 0]`); the images' `groups` [n]; whether concepts move scores, [q, k]."""

    groups: tuple[str, ...]
    clean: np.ndarray
    concept: np.ndarray
    random: np.ndarray
    moves: np.ndarray


def made(shape: Shape, rng: np.random.Generator, sets: int = 1) -> Losses:
    """Losses of which none is a use; `sets` of random edits are drawn, 1 for all or one each."""
    k, q, r = shape.classes, shape.concepts, shape.random
    group = np.repeat(np.arange(shape.groups), 1 + rng.poisson(2, shape.groups))
    n, size = len(group), (shape.groups, q + sets * r, k)
    noise = rng.standard_t(3, size) / 2 if shape.tail == "few" else rng.normal(size=size)
    noise = noise + rng.normal(size=(shape.groups, 1, k)) + rng.normal(size=(shape.groups, 1, 1))
    if shape.tail == "heavy":
        noise *= rng.exponential(size=(shape.groups, 1, 1))
    change = 0.05 * noise[group] + 0.03 * rng.normal(size=(n, *size[1:]))
    change = np.clip(change, -0.3, 0.3)  # as far up as down: that is what the tests suppose
    kind = np.full((q, k), shape.lacks, "U9")
    if shape.lacks == "any":
        kind[:] = np.where(np.arange(k) % 2, "signs", "score")
    # What each edit costs a class in the mean: of random ones, and of those that are one more.
    drawn = rng.normal(size=(q + sets * r, k)) * 0.05
    if shape.spread == "skewed":
        drawn = -0.05 * rng.exponential(size=drawn.shape)
    of = np.resize(np.arange(sets), q)
    concept = change[:, :q] + np.where(kind == "direction", drawn[:q] - 0.15, -0.15)
    random = (change[:, q:] + drawn[q:] - 0.15).reshape(n, sets, r, k)[:, of]
    # Of random edits that do not vary all that is beyond is rare.
    even = (kind == "signs").any(0)
    random = np.where(even, -0.15, random)
    concept -= 0.5 * (kind == "score")
    clean = np.where(rng.random((n, k)) < 0.9, IOU, np.nan)
    clean[:, 0] = IOU
    names = tuple(f"g{g:02d}" for g in group)
    iou = clean[:, None] + concept, clean[:, None, None] + random
    return Losses(names, clean, *(np.clip(each, 0, 1) for each in iou), kind != "score")


def planted(data: Losses, share: float, rng: np.random.Generator) -> Losses:
    """The same with one use: without concept 0, class 0 loses about that share of its IoU."""
    concept, moves = data.concept.copy(), data.moves.copy()
    lost = rng.beta(12 * share, 12 * (1 - share), len(data.groups))
    concept[:, 0, 0], moves[0, 0] = IOU * (1 - lost), True
    return replace(data, concept=concept, moves=moves)


def by_ace(data: Losses, rng: np.random.Generator, nulls: int = 4999) -> list[Finding]:
    """What ACE claims."""
    n, q, k = data.concept.shape
    axis = small.direction([1.0, 0.0, 0.0])
    found = small.discovery(
        n,
        3,
        k,
        groups=data.groups,
        concepts=tuple(small.concept(one + 1, [0], axis) for one in range(q)),
        class_images={c: np.flatnonzero(np.isfinite(data.clean[:, c])) for c in range(k)},
    )
    influence = {}
    for c in range(k):
        for one in range(q):
            by_chance = rng.standard_t(5, size=nulls)
            effect = 100.0 if data.moves[one, c] else float(np.abs(rng.standard_t(5)))
            p = tail_p(effect, np.abs(by_chance))
            even = np.full(len(found.class_images[c]), effect)
            influence[c, one] = Influence(even, even, even, p, p, by_chance, by_chance)
    sampling = replace(found.sampling, draws=50)  # of what is not claimed here
    found = replace(found, influence=influence, local=influence, sampling=sampling)
    # One set of random directions serves all concepts.
    erased = data.clean, data.concept, data.random[:, -1], data.random[:, -1, :1]
    erased = *erased, data.concept - data.clean[:, None]
    erasures = Erasures(found.ids, np.ones(n, bool), *erased)
    pairs = assess(small.study(), None, DISCOVERY(found) | ERASURES(erasures))[TESTED]
    return uses(found, pairs, [f"class {c}" for c in range(k)], [""] * q, {})


def by_dissection(data: Losses, rng: np.random.Generator) -> list[Finding]:
    """What dissection claims as evidence of uses."""
    n, q, k = data.concept.shape
    ids = tuple(f"s{i:03d}" for i in range(n))
    random = [data.random[:, one] for one in range(q)]
    sampling = Sampling(ids, data.groups, "groups", 0)
    right = data.concept - data.clean[:, None]
    shown = losses(dissection(), data.clean, data.concept, random, sampling, right)
    sets = tuple((one,) for one in range(q))
    ablations = Ablations(sets, sets, (), shown, (), n, n, "zero")
    plan = SimpleNamespace(vocabulary=vocabulary(q))
    detection = SimpleNamespace(plan=plan, detectors=lambda concept: [concept])
    rest = (Remaining(0.9, 0.8),) * q
    claimed = detected(detection, ablations, rest, [f"class {c}" for c in range(k)])
    return [one for one in claimed if one.standing == "evidence"]


def false_share(study: str, shape: Shape, sets: int) -> float:
    """The share of data sets with any claim: these are corrected. Of pairs, if "direction" lacks:
    that there are nineteen of twenty that cost less is asked of each pair by itself."""
    rng = np.random.default_rng(shape.groups)
    each = 1 if study == "ace" else shape.concepts
    found = [len(claims(study, made(shape, rng, each), rng)) for _ in range(sets)]
    if shape.lacks == "direction":
        return float(np.mean(found)) / (shape.concepts * shape.classes)
    return float(np.mean(np.array(found) > 0))


def found_share(study: str, shape: Shape, share: float, sets: int) -> float:
    """In how many data sets a use of class 0 that takes about that share of its IoU is claimed."""
    rng = np.random.default_rng(shape.groups)
    each = 1 if study == "ace" else shape.concepts
    found = 0
    for _ in range(sets):
        data = planted(made(shape, rng, each), share, rng)
        found += any(one.class_ == "class 0" for one in claims(study, data, rng))
    return found / sets


def claims(study: str, data: Losses, rng: np.random.Generator) -> Sequence[Finding]:
    return by_ace(data, rng) if study == "ace" else by_dissection(data, rng)

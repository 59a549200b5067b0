"""How often a channel of a network that has learnt nothing is said to act from context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.saved import Result
from conceptseg.study.lcrp.assess import SCORES, assess
from conceptseg.study.lcrp.background import SENSITIVITY
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import Control
from conceptseg.study.lcrp.findings import findings
from conceptseg.study.lcrp.maps import MAPS
from conceptseg.study.lcrp.ranks import RANKED
from conceptseg.study.lcrp.shuffles import SHUFFLES, Shuffles
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, any_evidence

NETWORKS, COMPARED, IMAGES, CONCEPTS, SCENES = 40, 8, 8, 4, 60
CLASSES = ("digit 3", "digit 9")


@dataclass(frozen=True)
class Bank:
    """The context scores of `NETWORKS` networks of shuffled weights, by the study's own passes."""

    study: Lcrp
    context: Context
    known: Known


def bank(bench: Bench, seed: int) -> Bank:
    keys = {
        "shuffled_networks": NETWORKS,
        "shuffled_images": IMAGES,
        "random_images": IMAGES,
        "concepts": CONCEPTS,
        "references": 1,
        "exemplars": 0,
        "conserve_images": 1,
        "unit": "image",
    }
    scenes = {"format": "planted", "context": "balanced", "pair_share": 1.0}
    study, context = bench.ready(
        "lcrp", keys, scenes=scenes, n=SCENES, seed=10_000 + seed, classes=CLASSES
    )
    assert isinstance(study, Lcrp)
    return Bank(study, context, bench.known_after(study, context, Control))


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """One of the shuffled networks is taken for the trained one, and some others are its twins."""
    made = bank(bench, seed)
    shuffles, classes = made.known[SHUFFLES], made.context.model.classes
    able = sorted({network for network, _ in shuffles.scores})
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        own, *others = rng.permutation(able)[: 1 + COMPARED].tolist()
        scores = {key: found for key, found in shuffles.scores.items() if key[0] in others}
        known = SHUFFLES(Shuffles(scores, shuffles.images)) | SENSITIVITY({})
        known |= _as_trained(made, own, number)
        context = replace(made.context, seed=number)
        judged = assess(made.study, context, known)[SCORES]
        yield (any_evidence(findings(judged, classes, {})),)


def _as_trained(made: Bank, network: int, seed: int) -> Known:
    """What is known of a network as if it were the one that is studied."""
    chosen, shuffles, ranked = made.known[CHOSEN_PAIRS], made.known[SHUFFLES], made.known[RANKED]
    rows: list[tuple[str, int, int, float]] = []
    concepts: dict[int, tuple[int, ...]] = {}
    for c in chosen.classes:
        concepts[c] = tuple(ranked.get((network, c), ()))
        for unit, each in zip(concepts[c], shuffles.scores.get((network, c), ()), strict=True):
            own = zip(shuffles.images[c], each.tolist(), strict=True)
            rows += [(name, c, unit, value) for name, value in own if np.isfinite(value)]
    samples, of, units, values = zip(*rows, strict=True)
    nothing = np.full(len(rows), np.nan)
    columns = {
        "sample": np.array(samples),
        "class": np.array(of),
        "unit": np.array(units),
        "context": np.array(values),
        "mass": np.ones(len(rows)),
        **dict.fromkeys(("latent", "by_activation", "tile", "chance"), nothing),
    }
    none = np.full((len(rows), 0), np.nan)
    labels = np.full((len(rows), len(made.context.model.classes)), np.nan)
    maps = replace(made.known[MAPS], columns=columns, labels=labels, on=none, active_on=none)
    return CHOSEN_PAIRS(_chosen(chosen, concepts, seed)) | MAPS(maps)


def _chosen(chosen: Chosen, concepts: dict[int, tuple[int, ...]], seed: int) -> Chosen:
    """With another network's channels, all of which hold more than an even share."""
    classes = tuple(c for c in chosen.classes if concepts[c])
    mean = {c: np.where(np.isin(np.arange(chosen.units), concepts[c]), 1.0, 0.0) for c in classes}
    return replace(
        chosen,
        classes=classes,
        sampling=replace(chosen.sampling, seed=seed, draws=200),
        concepts={c: concepts[c] for c in classes},
        mean=mean,
        spread=mean,
        through={c: np.ones(len(chosen.images[c])) for c in classes},
        relevant={(c, k): [] for c in classes for k in concepts[c]},
    )


def _found(result: Result) -> bool:
    return any(one.class_ == "digit 3" for one in result.findings)


SELFTEST = Selftest(
    claims=(
        Claim(
            "a channel acts from context (signs of images, and shuffled networks)",
            "a network of shuffled weights in place of the trained one",
            "all channels and classes of a run",
            behind=NETWORKS,
        ),
    ),
    draws=draws,
    seconds=45,
    power=Power(
        "a channel of digit 3 acts from context",
        {
            "random_images": 12,
            "references": 4,
            "flip_images": 0,
            "sensitivity_images": 0,
            "rules_images": 0,
        },
        _found,
        classes=("digit 3",),
    ),
)

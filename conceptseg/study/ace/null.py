"""How often random concepts are called used, by ACE's own tests and by the published t-test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from conceptseg.concepts.contract import ConceptFinder, Concepts
from conceptseg.data.batch import batches
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.ace.apart import Apart, tell_apart
from conceptseg.study.ace.assess import JUDGED, assess
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discover import published_ps
from conceptseg.study.ace.discovery import DISCOVERY, Concept, Discovery
from conceptseg.study.ace.erase import ERASURES, Erase, Erasures
from conceptseg.study.ace.findings import findings
from conceptseg.study.ace.pictures import lay_out_map, warm_map
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, any_evidence, subset

IMAGES, POOL, SEGMENTS = 80, 36, 60
CONCEPTS, DRAWN = 8, 40
"""Of a draw: concepts, and images in which they are erased."""


class Random(ConceptFinder):
    """Clusters of segments that have nothing in common."""

    def fit(self, embeddings: np.ndarray, images: np.ndarray, seed: int) -> Concepts:
        rng = np.random.default_rng([seed, len(embeddings)])
        members = np.full(len(embeddings), -1)
        picked = rng.permutation(len(embeddings))[: POOL * SEGMENTS]
        members[picked] = np.arange(len(picked)) % POOL
        centres = np.zeros((POOL, embeddings.shape[1]))
        return Concepts(centres, members, rng.random(len(embeddings)), np.ones(POOL))


@dataclass(frozen=True)
class Layer:
    """A network, its scenes and classes, and a layer whose random concepts are tested."""

    network: str
    scenes: Mapping[str, Any]
    classes: tuple[str, ...]
    arguments: Mapping[str, Any]
    layer: str = "auto"


WIDE = Layer(
    "biased",
    {"format": "planted", "context": "balanced", "pair_share": 0.6},
    ("digit 3", "digit 9", "digit 5"),
    {},
)
"""Its digits do use what the layer holds: directions matter, concepts do not."""
NARROW = Layer(
    "constructed",
    {"format": "planted", "scenes": "exact"},
    ("digit 3", "digit 9"),
    {"w": 1.0},
    "bottleneck",
)
"""Of six units one decides, and is most of what varies: a part of all random directions."""


@dataclass(frozen=True)
class Bank:
    """Random concepts of a real network, what each class loses without each, and all tests."""

    study: Ace
    context: Context
    discovery: Discovery
    erasures: Erasures


def bank(bench: Bench, seed: int, of: Layer = WIDE) -> Bank:
    """Random concepts of a layer, and what its classes lose without each."""
    keys = {
        "scales": (15, 50),
        "min_auc": 0.0,
        "min_images": 5,
        "nulls": 999,
        "calibration": 0,
        "null_erasures": 20,
        "erase_images": 20,
        "unit": "image",
        "layer": of.layer,
    }
    options = {"network": of.network, "scenes": of.scenes, "arguments": of.arguments, "n": IMAGES}
    study, context = bench.ready("ace", keys, seed=1000 + seed, classes=of.classes, **options)  # type: ignore[arg-type]
    assert isinstance(study, Ace)
    study = study.model_copy(update={"concepts": Random()})
    known = bench.known_after(study, context, Erase, but=(warm_map, lay_out_map))
    return Bank(study, context, known[DISCOVERY], known[ERASURES])


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Some of the random concepts, in some of the images, of either layer; and one more of the wide
    one for the published test."""
    wide, narrow = bank(bench, seed), bank(bench, seed, NARROW)
    for number in range(count):
        dealt = [(made, np.random.default_rng([seed, number])) for made in (wide, narrow)]
        used = [_uses(made, rng, number) for made, rng in dealt]
        yield *used, _published(*dealt[0], number)


def _uses(made: Bank, rng: np.random.Generator, number: int) -> bool:
    """Whether any class is said to use one of the concepts that are dealt."""
    known, classes = _dealt(made, rng), made.context.model.classes
    study = made.study.model_copy(update={"seed": number})
    known |= assess(study, made.context, known)
    known |= _told_apart(study, made.context, known)
    discovery = known[DISCOVERY]
    names = [""] * len(discovery.concepts)
    return any_evidence(findings(discovery, known[JUDGED], classes, names, {}))


def _told_apart(study: Ace, context: Context, known: Known) -> Known:
    """The pairs as judged at last, by passes of the concepts that random directions hold."""
    sweep, state = Apart(study), Known()
    samples, size = sweep.samples(context, known), context.run.batch_size
    for batch in batches(context.manifest, samples, size, "cpu", need_labels=True):
        state = state.merge(sweep.map(context, batch, known))
    return tell_apart(study, context, known | state)


def _dealt(made: Bank, rng: np.random.Generator) -> Known:
    whole, lost = made.discovery, made.erasures
    every = np.arange(len(whole.concepts))
    chosen, others = np.split(rng.permutation(every), [CONCEPTS])
    rows = subset(rng, len(lost.ids), min(DRAWN, len(lost.ids)))
    # A random direction and a random concept are one thing: both are of random segments.
    random = np.concatenate([lost.null, lost.concept[:, others]], 1)
    directions = [*whole.null_directions, *(whole.concepts[one].direction for one in others)]
    picked = rng.permutation(random.shape[1])[: made.study.null_erasures]
    random = random[:, picked]
    erasures = Erasures(
        tuple(lost.ids[row] for row in rows.tolist()),
        lost.labelled[rows],
        lost.clean[rows],
        lost.concept[rows][:, chosen],
        random[rows],
        lost.layer[rows],
        lost.right[rows][:, chosen],
    )
    classes = {c for c, _ in whole.influence}
    place = {(c, q): (c, int(one)) for c in classes for q, one in enumerate(chosen)}
    discovery = replace(
        whole,
        concepts=tuple(whole.concepts[one] for one in chosen.tolist()),
        null_directions=tuple(directions[one] for one in picked.tolist()),
        influence={key: whole.influence[of] for key, of in place.items()},
        local={key: whole.local[of] for key, of in place.items()},
        published={},
        sampling=replace(whole.sampling, draws=100),
    )
    return DISCOVERY(discovery) | ERASURES(erasures)


def _published(made: Bank, rng: np.random.Generator, seed: int) -> bool:
    """Whether the t-test finds a fresh random concept significant for one class."""
    whole = made.discovery
    core = rng.permutation(len(whole.image))[: made.study.segments_per_concept]
    concept: Concept = replace(whole.concepts[0], core=core)
    classes = sorted(whole.gradients)
    gradients = whole.gradients[classes[int(rng.integers(len(classes)))]].sum(1)
    one = replace(whole, concepts=(concept,))
    return published_ps(made.study, one, gradients, seed)[0] <= ALPHA


def _found(result: Result) -> bool:
    """Whether digit 3 is said to use a concept from context."""
    return any(
        one.class_ == "digit 3" and one.details.get("from_context") for one in result.findings
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "a class uses a concept (score against random concepts and signs of images, Holm)",
            "concepts of segments drawn at random, on a network that uses what its layer holds",
            "all classes and concepts of a run",
        ),
        Claim(
            "a class uses a concept, in a layer of six units of which one decides",
            "concepts of segments drawn at random, on a network wired to use one unit",
            "all classes and concepts of a run",
        ),
        Claim(
            "TCAV's t-test at 5 % (Kim et al. 2018, section 3.4)",
            "concepts of segments drawn at random",
            "one class and concept: the published rule corrects for none",
            "published",
        ),
    ),
    draws=draws,
    seconds=15,
    power=Power(
        "digit 3 uses a concept that lies elsewhere",
        {
            "scales": (15,),
            "concepts": {"kind": "kmeans", "counts": (8,), "draws": 2, "seeds": 2},
            "nulls": 999,
            "calibration": 0,
            "control_images": 0,
            "erase_images": 30,
            "map_images": 4,
            "map_segments": 20,
        },
        _found,
        scenes=60,
    ),
)

"""From segments to concepts: clustering, survival, quality, and each class's tests. No network."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.cavs.ridge import Ridge
from conceptseg.config import TargetConfig
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.family import fewest
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.ranks import auc
from conceptseg.study.ace.clusters import core_of, drop, survivors
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Concept, Direction, Discovery
from conceptseg.study.ace.influences import influences
from conceptseg.study.ace.scored import REGIONS
from conceptseg.study.ace.survey import ACTIVATION, SEGMENTS
from conceptseg.study.ace.tcav import TINY, concept_step, published_p

CONTRAST_PER_SEGMENT = 10
TESTS = 2
"""That a use needs, of those that are corrected: of the score, and of the loss over images."""
PUBLISHED_SETS = 20
COLUMNS = ("embedding", "level", "given", "number", "box", "area", "share", "ring", "truth")


def discover(study: Ace, context: Context, known: Known) -> Known:
    """The concepts and their tests.

    Raises InputError when no class was predicted.
    """
    table, class_ids = known[SEGMENTS], study.class_ids(context)
    ids = table.ids
    _check_predicted(study, context, class_ids, table)
    groups = [context.manifest.sample(sample_id).group for sample_id in ids]
    sampling = Sampling.counting(
        ids, groups, study.unit, context.seed, fewest=fewest("less", TESTS)
    )
    image = table.owner("embedding")
    columns: dict[str, Any] = {name: table.column(name) for name in COLUMNS}
    place = columns["embedding"] if study.embedding == "pooled" else table.column("place")
    cut = np.flatnonzero(columns["given"] < 0)
    clusters = study.concepts.fit(columns["embedding"][cut], image[cut], context.seed)
    segments = Discovery(
        sampling=sampling,
        packed=tuple(table.tables[sample_id]["segments"] for sample_id in ids),
        place=place,
        image=image,
        **columns,
        mean=known[ACTIVATION].mean,
        choices=clusters.choices,
    )
    kept, dropped = survivors(study, clusters, image[cut], segments.box[cut])
    drawn, missing = _drawn(study, segments)
    rng = np.random.default_rng([context.seed, 1])
    whole = [(cut[rows], stability, cluster, "") for rows, stability, cluster in kept]
    concepts, unheld = _concepts(study, segments, [*drawn, *whole], rng)
    discovery = replace(
        segments,
        concepts=tuple(concepts),
        dropped=(*missing, *dropped, *unheld),
        null_directions=_null_directions(study, segments, concepts, rng),
    )
    paths = {
        class_id: gradients
        for class_id in class_ids
        if (gradients := _class_images(study, discovery, class_id, table)) is not None
    }
    influences(study, discovery, paths, context.seed)
    for class_id in paths:
        local = discovery.gradients[class_id].sum(1)
        for q, p in enumerate(published_ps(study, discovery, local, context.seed)):
            discovery.published[class_id, q] = p
    return DISCOVERY(discovery)


def _concepts(
    study: Ace,
    segments: Discovery,
    found: Sequence[tuple[np.ndarray, float, int, str]],
    rng: np.random.Generator,
) -> tuple[list[Concept], list[dict[str, Any]]]:
    """The concepts that are told from the rest on images they were not learnt from, and others."""
    concepts: list[Concept] = []
    dropped = []
    for members, stability, cluster, label in found:
        concept = _concept(study, len(concepts) + 1, members, stability, segments, rng, label)
        if np.isnan(concept.auc):
            counted = segments.sampling.of.removesuffix("s")
            reason = f"it lies in one {counted} only, or everywhere, and cannot be held out"
            dropped.append(drop(cluster, members, segments.image, reason))
        elif concept.auc < study.min_auc:
            reason = f"held-out AUC {concept.auc:.2f}"
            dropped.append(drop(cluster, members, segments.image, reason))
        else:
            concepts.append(concept)
    return concepts, dropped


def _check_predicted(
    study: Ace, context: Context, class_ids: Sequence[int], table: SampleTable
) -> None:
    """Refuse classes that the user asked for and no image holds; of unasked ones, one must be.

    An image holds a class whose score is read on enough of its pixels.
    """
    names = context.model.classes
    held = np.bincount(table.column("class") if table.ids else [], minlength=len(names))
    missing = [repr(names[c]) for c in class_ids if not held[c]]
    seen = REGIONS[study.target.region][0]
    images = f"{len(context.manifest.samples)} images"
    if study.data.classes and missing:
        raise InputError(
            f"data.classes: {', '.join(missing)} is {seen} in none of the {images}, or too "
            "small there; leave it out, give other images or check model.preprocessing"
        )
    if 0 < held.max() < study.min_images:
        raise InputError(
            f"no class is {seen} in more than {held.max()} of the {images}, and a class needs "
            f"{study.min_images}: give more images, or set min_images lower"
        )
    if not held.any():
        raise InputError(
            f"none of the classes {', '.join(missing)} is {seen} in any of the {images}, or too "
            "small there: check model.preprocessing and data.classes"
            + ("" if study.target == TargetConfig() else ", and target")
        )


def _concept(
    study: Ace,
    number: int,
    members: np.ndarray,
    stability: float,
    segments: Discovery,
    rng: np.random.Generator,
    label: str,
) -> Concept:
    image = segments.image
    core = core_of(members, image, study.segments_per_concept, study.segments_per_image)
    direction, contrast = _direction(study, segments, core, members, rng)
    rows = np.concatenate([core, contrast])
    is_concept, embedding = np.arange(len(rows)) < len(core), segments.embedding[rows]
    pattern, ridge = (learner.fit(embedding, is_concept, 0) for learner in (Pattern(), Ridge()))
    agreement = pattern @ ridge / max(np.linalg.norm(pattern) * np.linalg.norm(ridge), TINY)
    return Concept(
        number,
        members,
        core,
        len(np.unique(image[members])),
        stability,
        _held_out_auc(study, embedding, is_concept, segments.sampling.place[image[rows]]),
        float(agreement),
        direction,
        label,
    )


def _drawn(
    study: Ace, segments: Discovery
) -> tuple[list[tuple[np.ndarray, float, int, str]], list[dict[str, Any]]]:
    """The user's regions of each mask, the largest first, and why some are left out.

    Like clusters, they have a stability, 1, and a number, which is negative.
    """
    kept, dropped = [], []
    for number, name in enumerate(study.masks):
        rows = np.flatnonzero(segments.given == number)
        rows = rows[np.lexsort((rows, -segments.area[rows]))]
        if len(rows) < study.min_images:
            reason = f"mask {name!r}: in {len(rows)} images only, fewer than {study.min_images}"
            dropped.append(drop(-1 - number, rows, segments.image, reason))
        else:
            kept.append((rows, 1.0, -1 - number, name))
    return kept, dropped


def _direction(
    study: Ace,
    segments: Discovery,
    core: np.ndarray,
    members: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Direction, np.ndarray]:
    """The CAV of some segments, and its contrast: random ones that are not members, [<= size]."""
    embedding = segments.embedding
    others = np.setdiff1d(np.arange(len(embedding)), members)
    size = min(CONTRAST_PER_SEGMENT * len(core), len(others))
    contrast = np.sort(rng.choice(others, size=size, replace=False))
    step = concept_step(study.cav, embedding[core], embedding[contrast], study.seed)
    return Direction.of(step, segments.place[contrast]), contrast


def _held_out_auc(study: Ace, rows: np.ndarray, is_concept: np.ndarray, owner: np.ndarray) -> float:
    """AUC of the CAV on images (or groups of them) it was not learnt from; mean of two halves.

    `owner` [m] says which image or group each row belongs to. nan where a half lacks either kind.
    """
    owners = np.unique(owner[is_concept])
    half = np.isin(owner, owners[::2]) | (~np.isin(owner, owners) & (owner % 2 == 0))
    scores = []
    for train, test in ((half, ~half), (~half, half)):
        if len(np.unique(is_concept[train])) < 2:
            return float("nan")
        v = study.cav.fit(rows[train], is_concept[train], study.seed)
        scores.append(auc(rows[test & is_concept] @ v, rows[test & ~is_concept] @ v))
    return float(np.mean(scores))


def _null_directions(
    study: Ace, segments: Discovery, concepts: Sequence[Concept], rng: np.random.Generator
) -> tuple[Direction, ...]:
    """CAVs of random sets of segments, as large as a concept."""
    if not concepts:
        return ()
    total = len(segments.embedding)
    size = min(int(np.median([len(concept.core) for concept in concepts])), total // 2)
    directions = []
    for _ in range(study.null_erasures):
        core = rng.choice(total, size=size, replace=False)
        directions.append(_direction(study, segments, core, core, rng)[0])
    return tuple(directions)


def _class_images(
    study: Ace, discovery: Discovery, class_id: int, table: SampleTable
) -> np.ndarray | None:
    """Fill in a class's images and their gradients; those along paths [n, 2, u], if enough."""
    holds = np.flatnonzero(table.column("class") == class_id)
    images = table.owner("class")[holds]
    # Images that were kept for another class would let a common one grow without bound.
    ranked = sorted(range(len(images)), key=lambda i: table.priority[discovery.ids[images[i]]])
    drawn = np.sort(np.array(ranked[: study.images_per_class], dtype=np.int64))
    holds, images = holds[drawn], images[drawn]
    discovery.class_images[class_id] = images
    if len(images) < study.min_images:
        return None
    discovery.gradients[class_id] = table.column("local")[holds]
    return np.asarray(table.column("path")[holds])


def published_ps(study: Ace, discovery: Discovery, gradients: np.ndarray, seed: int) -> list[float]:
    """P-values of the published test, by concept: several CAVs against random sets, t-test."""
    rng = np.random.default_rng([seed, 4])
    embedding = discovery.embedding
    size = min(study.segments_per_concept, len(embedding) // 2)
    sets = [rng.choice(len(embedding), size, replace=False) for _ in range(PUBLISHED_SETS)]

    def score(positive: np.ndarray, negative: np.ndarray) -> float:
        step = concept_step(study.cav, embedding[positive], embedding[negative], study.seed)
        return float((gradients @ step > 0).mean())

    random = np.array([score(sets[j], sets[j - 1]) for j in range(len(sets))])
    return [
        published_p(np.array([score(concept.core, other) for other in sets]), random)
        for concept in discovery.concepts
    ]

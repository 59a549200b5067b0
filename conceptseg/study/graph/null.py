"""How often edges are claimed of effects too small to count, of random groups, and by BioExp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.network.label_map import label_map
from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Sampling
from conceptseg.study.graph.assess import Edge, Measured, beyond_random, judged
from conceptseg.study.graph.atoms import ATOMS, LAYERS, Atoms, find_atoms
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.screen import looked, units_of
from conceptseg.study.graph.verify import strongest
from conceptseg.study.graph.wires import Wires
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, all_batches, subset

IMAGES, DRAWN = 64, 40
TRIES = 1000
EDGE_IMAGES, EDGE_BINS, EDGE = 10, 100, 0.5
"""BioExp's defaults: images, bins of either unit, and the mutual information of an edge."""
SCENES = {"format": "planted", "context": "balanced", "pair_share": 1.0}


@dataclass(frozen=True)
class Bank:
    """What real passes owe to each unit: `ways` {(i, j): [n, P_i, c, u_j]}, `straight` [n, c, u_i]
    of each layer, classes that are `there` [n, c], and `maps` [n, u, y, x] of one layer."""

    study: Graph
    context: Context
    atoms: Atoms
    ways: dict[tuple[int, int], np.ndarray]
    straight: list[np.ndarray]
    there: np.ndarray
    maps: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    """Of `biased`, whose units do carry its classes: it is groups that mean nothing."""
    keys = {
        "layers": ("encoder.1", "encoder.2", "decoder.1"),
        "images": IMAGES,
        "unit": "image",
        "random_groups": 999,
        "min_images": 5,
    }
    options = {"network": "biased", "scenes": SCENES, "n": IMAGES}
    options |= {"classes": ("digit 3", "digit 9")}
    study, context = bench.ready("graph", keys, seed=13_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Graph)
    known = bench.known_after(study, context, find_atoms)
    atoms, classes = known[ATOMS], study.class_ids(context)
    ways, straight, there = list[dict[tuple[int, int], np.ndarray]](), list[list[np.ndarray]](), []
    maps = list[np.ndarray]()
    for batch in all_batches(context):
        wires = Wires(context.model, batch.images, known[LAYERS])
        _, between, direct = looked(wires, atoms, wires.targets(classes))
        ways.append(between)
        straight.append(direct)
        there.append(np.stack([(label_map(wires.logits) == c).any(2).any(1) for c in classes], 1))
        maps.append(wires.clean[1].numpy())
    return Bank(
        study,
        context,
        atoms,
        {key: np.concatenate([one[key] for one in ways]) for key in ways[0]},
        [np.concatenate(own) for own in zip(*straight, strict=True)],
        np.concatenate(there),
        np.concatenate(maps),
    )


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Effects are scaled so that all are as large as does not yet count, or units are dealt to
    groups at random; screening, choice and tests of the study follow.

    First estimates stand for what carrying out gives, in both directions: so no edge fails for want
    of a direction.
    """
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        scaled = claimed(made, made.atoms, True, rng, number)
        dealt = claimed(made, _dealt(made.atoms, rng), False, rng, number)
        yield (
            any(one.confirmed for one in scaled),
            any(bool(one.specific) for one in dealt),
            _edge(made.maps, rng),
        )


def claimed(
    made: Bank, atoms: Atoms, scaled: bool, rng: np.random.Generator, seed: int
) -> list[Edge]:
    """All edges of some images; `scaled`: each as large, over all images, as the least that counts
    (nothing is asked of random groups then)."""
    smallest, lacks = made.study.smallest_effect, ~made.there
    count, n = len(atoms.atoms), len(made.there)
    first = np.zeros((n, count, count, made.there.shape[1]))
    straight = np.zeros((n, count, made.there.shape[1]))
    for (i, j), own in made.ways.items():
        for q in atoms.at(j):
            first[:, atoms.at(i), q] = own[..., list(atoms.atoms[q].units)].sum(-1)
    for i, own in enumerate(made.straight):
        for p in atoms.at(i):
            straight[:, p] = own[..., list(atoms.atoms[p].units)].sum(-1)
    first[lacks[:, None, None].repeat(count, 1).repeat(count, 2)] = np.nan
    straight[lacks[:, None].repeat(count, 1)] = np.nan
    if scaled:
        first, straight = (_scaled(each, smallest) for each in (first, straight))
    rows = subset(rng, n, DRAWN)
    half = rng.permutation(DRAWN) % 2 == 0
    sizes = [np.nan_to_num(np.nanmean(np.abs(first[rows][own]), 0)) for own in (half, ~half)]
    chosen = strongest(sizes[0], sizes[1], made.study.edges)
    of = [(*chosen.ways[m], c) for m, c in np.argwhere(chosen.asked).tolist()]
    alone = [(p, None, c) for p in range(count) for c in range(made.there.shape[1])]
    kinds = [_measured(of, first[rows][~half]), _measured(alone, straight[rows][~half])]
    names = tuple(f"{one:03d}" for one in np.flatnonzero(~half).tolist())
    sampling = Sampling(names, names, "images", (seed, 61), 50)
    chance = dict[tuple[int, int | None, int], float]()
    if not scaled:
        by_unit = units_of(made.ways, made.straight, made.there, rows)
        chance = beyond_random(999, by_unit, atoms, made.there.shape[1], rng)
    return judged(kinds, sampling, chance, smallest, seed)


def _scaled(values: np.ndarray, size: float) -> np.ndarray:
    """Values [n, ...] of which each has the mean size given; those that are zero stay so."""
    mean = np.nanmean(np.abs(values), 0)
    return values * np.divide(size, mean, out=np.zeros_like(mean), where=mean > 0)


def _measured(of: Sequence[tuple[int, int | None, int]], values: np.ndarray) -> Measured:
    """Values [n, P, (P,) c] at each edge."""
    each = [values[:, p, c] if q is None else values[:, p, q, c] for p, q, c in of]
    own = np.stack(each, 1) if each else np.empty((len(values), 0))
    return Measured(of, own, own, np.nanmean(own, 0) if each else np.empty(0))


def _dealt(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """As many groups of as many units in each layer, of units dealt at random."""
    made = list(atoms.atoms)
    for layer in range(len(atoms.layers)):
        order = rng.permutation(np.concatenate([atoms.atoms[p].units for p in atoms.at(layer)]))
        for p in atoms.at(layer):
            mine, order = np.split(order, [len(made[p].units)])
            made[p] = replace(made[p], units=tuple(np.sort(mine).tolist()))
    return replace(atoms, atoms=tuple(made))


def _edge(maps: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether BioExp's rule joins two units that saw different images, at a place at which both
    respond in most of theirs."""
    n, v, y, x = maps.shape
    for _ in range(TRIES):
        at = maps[:, :, int(rng.integers(y)), int(rng.integers(x))]
        order, units = rng.permutation(n), rng.integers(0, v, 2)
        halves = order[:EDGE_IMAGES], order[EDGE_IMAGES : 2 * EDGE_IMAGES]
        first, second = (at[own, unit] for own, unit in zip(halves, units, strict=True))
        if min(np.mean(first > 0), np.mean(second > 0)) > 0.5:
            break
    return edge_information(first, second) > EDGE


def edge_information(first: np.ndarray, second: np.ndarray, bins: int = EDGE_BINS) -> float:
    """Mutual information of two units' values [n] over images, as a part of the mean of their
    entropies, by a histogram of so many bins each; 1 of two constants, in [0, 1].

    Of ten images almost every value has a bin of its own, so that any two units seem to tell all
    of each other.

    Source: Kori, Natekar, Krishnamurthi & Srinivasan, "Abstracting deep networks into concept
    graphs", 2020 (BioExp), whose released code takes these defaults.
    """
    joint = np.histogram2d(first, second, bins)[0] / len(first)

    def entropy(p: np.ndarray) -> float:
        held = p[p > 0]
        return float(-(held * np.log(held)).sum())

    own, other, both = entropy(joint.sum(1)), entropy(joint.sum(0)), entropy(joint.ravel())
    if own + other <= 0:
        return 1.0
    return 2 * (own + other - both) / (own + other)


def _found(result: Result) -> bool:
    """Whether the channel of the stripes is said to speak for digit 3."""
    return any(
        row["class"] == "digit 3"
        and row["confirmed"]
        and "bottleneck/2" in (row["from"], row["to"])
        for row in result.tables["edges"].rows
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "an edge moves a class by more than counts (signs of images, Benjamini-Hochberg)",
            "effects of a network's own atoms, each scaled to the least size that counts",
            "all edges of a run",
        ),
        Claim(
            "an edge carries more than random groups of units (the same, and tails over groups)",
            "units of a network that uses them, dealt to groups at random",
            "all edges of a run",
        ),
        Claim(
            "BioExp's edge: mutual information above 0.5 over 10 images (Kori et al. 2020)",
            "two units in different images, at a place at which both respond",
            "one edge: the published rule corrects for none",
            "published",
        ),
    ),
    draws=draws,
    seconds=90,
    power=Power(
        "the channel of the stripes carries digit 3",
        {
            "layers": ("encoder.waves", "bottleneck"),
            "min_images": 5,
            "random_groups": 999,
            "exemplars": 0,
        },
        _found,
        scenes=60,
        classes=("digit 3",),
        layer="auto",
    ),
)

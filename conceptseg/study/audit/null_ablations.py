"""How often an ablation agrees with an effect where what is taken out has nothing to do with it,
and how often hiding does where what is hidden has not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.network.record import Tail, encode
from conceptseg.stats.estimate import Sampling
from conceptseg.study.audit.ablate import edited_logits, weighed
from conceptseg.study.audit.assess import own_ones
from conceptseg.study.audit.case import beyond
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.audit.removals.channels import Constant
from conceptseg.study.audit.removals.contract import Learnt, Removal, random_ones
from conceptseg.study.audit.removals.direction import Direction, random_directions
from conceptseg.study.audit.swap import hidden_iou
from conceptseg.study.shared.nulls import Bench, Claim, all_batches, subset

CLASS, MARGIN, DELTA = 4, 6.0, 1e-6
IMAGES, DRAWN = 16, 12
"""Images of the class in the bank, and in a draw."""
DIRECTIONS, SETS, CHANNELS = 4, 3, 8
"""Directions and sets of so many channels in the bank, each with its random ones."""
KINDS = 2
"""The family: both a direction and channels are tried."""

CLAIMS = (
    Claim(
        "an ablation agrees with an effect (interval, and all of the random ones, of two kinds)",
        "directions between real images to which a column is dealt at random, and channels drawn "
        "at random where the brick is and is not; no effect is too small to count",
        "a direction and a set of channels",
    ),
    Claim(
        "hiding the surroundings agrees with an effect (interval, either direction)",
        "a column is dealt at random to real images of digit 3, of which those with brick lose the "
        "digit when it is hidden; no effect is too small to count",
        "a class and a context",
    ),
)


@dataclass(frozen=True)
class Bank:
    """IoU [images, 2 + r] of each thing that is taken out, which images hold the brick, and IoU
    [images, 2] as they are and with hidden surroundings."""

    directions: tuple[tuple[Removal, np.ndarray], ...]
    channels: tuple[tuple[Removal, np.ndarray], ...]
    holds: np.ndarray
    hidden: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    """Real ablations of `biased`, which loses the digit where much is taken out of its layer."""
    keys = {"known": False, "context_classes": ()}
    scenes = {"format": "planted", "context": "balanced", "pair_share": 0.8}
    _, context = bench.ready(
        "audit", keys, network="biased", scenes=scenes, n=100, seed=3000 + seed
    )
    every = all_batches(context)
    images, labels = (
        torch.cat([getattr(one, name) for one in every]) for name in ("images", "labels")
    )
    ids = [name for one in every for name in one.ids]
    held = (labels == CLASS).flatten(1).any(1).numpy()
    rows, others = np.flatnonzero(held)[:IMAGES].tolist(), np.flatnonzero(~held)
    activation = encode(context.model, images[others], context.levels).double().numpy()
    rng = np.random.default_rng([seed, 71])
    directions = [_dealt(activation, rng) for _ in range(DIRECTIONS)]
    channels = [_drawn(activation, rng) for _ in range(SETS)]
    made = _scores(context, images[rows], labels[rows], (*directions, *channels))
    brick = [context.manifest.context(context.manifest.sample(ids[row])) for row in rows]
    return Bank(
        tuple(zip(directions, made[:DIRECTIONS], strict=True)),
        tuple(zip(channels, made[DIRECTIONS:], strict=True)),
        np.array([where is not None and bool(where.any()) for where in brick]),
        _hidden(context, [ids[row] for row in rows], images[rows], labels[rows]),
    )


def _dealt(activation: np.ndarray, rng: np.random.Generator) -> Direction:
    """The direction between two halves of the images [n, u, y, x], beside random ones."""
    first = rng.permutation(len(activation)) < len(activation) // 2
    means = activation.mean((2, 3))
    cells = activation.transpose(0, 2, 3, 1).reshape(-1, activation.shape[1])
    learnt = Learnt(means[first].mean(0), means[~first].mean(0), cells[:: len(cells) // 400])
    apart = learnt.there - learnt.lacking
    vector = apart / np.linalg.norm(apart)
    null = random_directions(learnt.cells, vector, random_ones(KINDS), rng)
    return Direction("a direction", vector, float(learnt.lacking @ vector), null)


def _drawn(activation: np.ndarray, rng: np.random.Generator) -> Constant:
    """Channels drawn at random, beside as many others, drawn likewise."""
    units = activation.shape[1]
    sets = [rng.permutation(units)[:CHANNELS] for _ in range(1 + random_ones(KINDS))]
    return Constant("channels", np.array(sets), activation.mean((0, 2, 3)))


def _hidden(
    context: Context, ids: Sequence[str], images: torch.Tensor, labels: torch.Tensor
) -> np.ndarray:
    found = list[tuple[float, float]]()
    for name, image, own in zip(ids, images, labels, strict=True):
        kept = Kept.of(own, CLASS, MARGIN, 2.0)
        with torch.no_grad():
            logits = context.model(image[None])
        before = float(kept.scores(logits, own, background(context))[0, 0])
        found.append((before, hidden_iou(context, name, image[None], own, kept)))
    return np.array(found)


def _scores(
    context: Context, images: torch.Tensor, labels: torch.Tensor, removals: Sequence[Removal]
) -> list[np.ndarray]:
    """Of each removal the IoUs [n, 2 + r]."""
    found: list[list[np.ndarray]] = [[] for _ in removals]
    with torch.no_grad():
        for image, own in zip(images, labels, strict=True):
            tail = Tail.of(context.model, image[None], context.levels)
            kept = Kept.of(own, CLASS, MARGIN, 2.0)
            for rows, removal in zip(found, removals, strict=True):
                logits = edited_logits(tail, removal, context.run.batch_size)
                rows.append(kept.scores(logits, own, background(context))[:, 0])
    return [np.stack(rows) for rows in found]


def draws(bench: Bench, count: int, seed: int) -> Iterator[tuple[bool, bool]]:
    """Whether either kind agrees with an effect, either way, and whether hiding does."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number, 1])
        rows = subset(rng, IMAGES, DRAWN)
        dealt = rng.permutation(DRAWN) < DRAWN // 2
        of = made.directions[rng.integers(DIRECTIONS)], made.channels[rng.integers(SETS)]
        ablated = _agrees(of[0], rows, dealt, number) or _agrees(
            (of[1][0], _shuffled(of[1][1], rng)), rows, made.holds[rows], number
        )
        sampling = _sampling(rows, number)
        before, hidden = made.hidden[rows].T
        _, hiding = own_ones(before, hidden, dealt, ~dealt, sampling)
        assert hiding is not None
        yield ablated, any(beyond(hiding, change, DELTA) for change in (1.0, -1.0))


def _sampling(rows: np.ndarray, seed: int) -> Sampling:
    ids = tuple(f"{row:03d}" for row in rows.tolist())
    return Sampling(ids, ids, "images", (seed, 49), 500)


def _shuffled(iou: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sets of channels that were all drawn alike: any may be the one that is asked about."""
    return np.concatenate([iou[:, :1], iou[:, 1:][:, rng.permutation(iou.shape[1] - 1)]], 1)


def _agrees(
    one: tuple[Removal, np.ndarray], rows: np.ndarray, holds: np.ndarray, seed: int
) -> bool:
    if not holds.any() or holds.all():
        return False
    found = weighed(one[1][rows], holds, _sampling(rows, seed), "ablated", one[0], KINDS)
    return any(found.agrees(change, DELTA) for change in (1.0, -1.0))

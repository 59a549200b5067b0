"""What the readings say: where classes emerge, what later layers lose, which units carry them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.ability.read import VARIANTS, Abilities
from conceptseg.ability.units import pooled_dice
from conceptseg.contracts import Context
from conceptseg.errors import InputError
from conceptseg.significance import bootstrap_interval, holm, sign_flip_p, spearman, units

if TYPE_CHECKING:
    from conceptseg.study.ability import Ability

DRAWS = 1000


@dataclass(frozen=True)
class Mean:
    """A mean over images with its 95 % interval over groups; `n` images."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Level:
    """One class at one layer: ability by each reading, against chance and against the output.

    `readings` by variant; `excess` of the global reading over the shuffled network's, on the same
    images; `above` the global reading (or the probe's) less the network's own Dice, with `p` (by
    sign flips, one-sided for "better by more than the smallest effect") and Holm's over all classes
    and layers.
    """

    class_id: int
    layer: str
    readings: Mapping[str, Mean | None]
    excess: Mean | None
    above: Mean
    p: float
    p_holm: float = 1.0


@dataclass(frozen=True)
class Emergence:
    """The first layer that reads a class at `enough` of the network's own Dice; None if none does.

    `share`: how often draws of the groups give the same layer. `best` and `best_dice`: the layer of
    largest ability; `last_dice`: the last layer's; `output`: the network's own Dice.
    """

    class_id: int
    images: int
    output: Mean
    layer: str | None
    share: float
    best: str
    best_dice: float
    last_dice: float
    probe_layer: str | None


@dataclass(frozen=True)
class Forgotten:
    """An object that a layer reads far better than the output: Dice of both."""

    sample: str
    class_id: int
    layer: str
    seen: float
    output: float


@dataclass(frozen=True)
class Leader:
    """A unit that reads a class well, chosen on half of the images and told on the other half."""

    layer: str
    unit: int
    dice: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Assessed:
    """Everything that is concluded. `agreement` and `confidence`: rank correlation with true Dice,
    each with its interval, and their difference's."""

    class_ids: tuple[int, ...]
    groups: tuple[str, ...]
    unit: str
    levels: Sequence[Level]
    emergence: Sequence[Emergence]
    forgotten: Sequence[Forgotten]
    forgotten_by_chance: tuple[int, int, int]
    leaders: Mapping[int, Sequence[Leader]]
    estimates: Mapping[str, Mean]


def assess(study: Ability, context: Context, found: Abilities) -> Assessed:
    """Raises InputError where no class is in enough images."""
    samples = [context.manifest.sample(name) for name in found.ids]
    groups, unit = units(found.ids, [s.group for s in samples], study.unit)
    wanted = study.class_ids(context)
    held = {c: int(np.isfinite(found.output[:, c]).sum()) for c in wanted}
    class_ids = tuple(c for c in wanted if held[c] >= study.min_images)
    if not class_ids:
        most = max(wanted, key=lambda c: held[c])
        raise InputError(
            f"{context.manifest.where}: no class is in {study.min_images} labelled images "
            f"({context.model.classes[most]!r} is in most, {held[most]}); add images or lower "
            "min_images"
        )
    forgotten = lost(study, found, class_ids)
    return Assessed(
        class_ids,
        groups,
        unit,
        levels(study, found, class_ids, groups, context.seed),
        [emerged(study, found, c, groups, context.seed) for c in class_ids],
        forgotten,
        by_chance(study, found, class_ids),
        {c: leaders(study, found, c, groups, context.seed) for c in class_ids},
        estimates(found, class_ids, groups, context.seed),
    )


def mean(values: np.ndarray, groups: Sequence[str], seed: int) -> Mean | None:
    """Over the images that have a value; None if there is none."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return None
    own = values[known]
    low, high = bootstrap_interval(own, [groups[i] for i in known.tolist()], seed=seed, draws=DRAWS)
    return Mean(float(own.mean()), low, high, len(known))


def dice_of(found: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Dice [n] of one reading of one class."""
    place = found.layers.index(layer)
    values: np.ndarray = found.dice[:, VARIANTS.index(variant), place, class_id]
    return values


def levels(
    study: Ability,
    found: Abilities,
    class_ids: Sequence[int],
    groups: Sequence[str],
    seed: int,
) -> list[Level]:
    made = []
    for class_id in class_ids:
        output = found.output[:, class_id]
        for layer in found.layers:
            each = {v: dice_of(found, v, layer, class_id) for v in VARIANTS}
            above = each["global"] - output
            known = np.isfinite(above)
            gap = mean(above, groups, seed)
            assert gap is not None
            p = sign_flip_p(
                above[known] - study.smallest_effect,
                [groups[i] for i in np.flatnonzero(known).tolist()],
                seed=seed,
                side="greater",
                tests=len(class_ids) * len(found.layers),
            )
            readings = {v: mean(values, groups, seed) for v, values in each.items()}
            excess = mean(each["global"] - each["shuffled"], groups, seed)
            made.append(Level(class_id, layer, readings, excess, gap, p))
    corrected = holm([one.p for one in made])
    return [
        Level(o.class_id, o.layer, o.readings, o.excess, o.above, o.p, float(q))
        for o, q in zip(made, corrected, strict=True)
    ]


def emerged(
    study: Ability, found: Abilities, class_id: int, groups: Sequence[str], seed: int
) -> Emergence:
    hidden = found.layers[:-1]  # the last is position alone
    known = np.flatnonzero(np.isfinite(found.output[:, class_id]))
    rows = np.stack([dice_of(found, "global", layer, class_id)[known] for layer in hidden], 1)
    probe = np.stack([dice_of(found, "probe", layer, class_id)[known] for layer in hidden], 1)
    output = found.output[known, class_id]
    first = _first(rows.mean(0), float(output.mean()), study.enough)
    place = np.unique(np.array([groups[i] for i in known.tolist()]), return_inverse=True)[1]
    members = [np.flatnonzero(place == g) for g in range(place.max() + 1)]
    rng = np.random.default_rng([seed, 21, class_id])
    same = 0
    for _ in range(DRAWS):
        taken = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        same += _first(rows[taken].mean(0), float(output[taken].mean()), study.enough) == first
    told = mean(found.output[:, class_id], groups, seed)
    assert told is not None
    average = rows.mean(0)
    by_probe = None
    if np.isfinite(probe).all():
        by_probe = _first(probe.mean(0), float(output.mean()), study.enough)
    return Emergence(
        class_id,
        len(known),
        told,
        None if first is None else hidden[first],
        same / DRAWS,
        hidden[int(np.argmax(average))],
        float(average.max()),
        float(average[-1]),
        None if by_probe is None else hidden[by_probe],
    )


def _first(dice: np.ndarray, output: float, enough: float) -> int | None:
    reached = np.flatnonzero(dice >= enough * output)
    return int(reached[0]) if len(reached) and output > 0 else None


def lost(study: Ability, found: Abilities, class_ids: Sequence[int]) -> list[Forgotten]:
    """Objects that some layer reads better than the output by `forgotten`, worst first."""
    dice = found.dice[:, VARIANTS.index("global"), :-1]
    listed = []
    for class_id in class_ids:
        for row in np.flatnonzero(np.isfinite(found.output[:, class_id])):
            layer = int(np.argmax(dice[row, :, class_id]))
            seen, output = float(dice[row, layer, class_id]), float(found.output[row, class_id])
            if seen - output > study.forgotten:
                name = found.layers[layer]
                listed.append(Forgotten(found.ids[row], class_id, name, seen, output))
    return sorted(listed, key=lambda o: (o.output - o.seen, o.sample, o.class_id))


def by_chance(study: Ability, found: Abilities, class_ids: Sequence[int]) -> tuple[int, int, int]:
    """On the control's images: objects, those forgotten, and those that a shuffled network's
    layers, read the same way, would have us call forgotten."""
    ids = list(class_ids)
    trained, shuffled = (
        found.dice[:, VARIANTS.index(v), :-1][:, :, ids] for v in ("global", "shuffled")
    )
    output = found.output[:, ids]
    known = np.isfinite(output) & np.isfinite(shuffled).all(1)
    filled = np.where(known, output, np.inf)
    counts = [int((each.max(1) - filled > study.forgotten).sum()) for each in (trained, shuffled)]
    return int(known.sum()), counts[0], counts[1]


def leaders(
    study: Ability, found: Abilities, class_id: int, groups: Sequence[str], seed: int
) -> list[Leader]:
    """The units of largest Dice on every other group's images, told on the images between."""
    if not len(found.unit_rows):
        return []
    owners = np.array([groups[row] for row in found.unit_rows.tolist()])
    rank = np.unique(owners, return_inverse=True)[1]
    choosing = rank % 2 == 0
    held = {layer: counts[:, 0, class_id, 2] > 0 for layer, counts in found.units.items()}
    some = next(iter(held.values()))
    if not some[choosing].any() or not some[~choosing].any():
        return []
    scores: list[tuple[float, str, int]] = []
    for layer, counts in found.units.items():
        dice = np.nan_to_num(pooled_dice(counts[choosing][:, :, class_id]))
        best = np.argsort(-dice, kind="stable")[: study.units_shown]
        scores += [(float(dice[u]), layer, int(u)) for u in best]
    told = []
    for _, layer, unit in sorted(scores, key=lambda s: (-s[0], s[1], s[2]))[: study.units_shown]:
        counts = found.units[layer][~choosing][:, unit, class_id]
        low, high = dice_interval(counts, owners[~choosing], seed)
        told.append(Leader(layer, unit, float(pooled_dice(counts)), low, high, len(counts)))
    return told


def dice_interval(counts: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    """Percentile interval of the Dice of counts [m, 3] pooled over images, by drawing groups."""
    place = np.unique(groups, return_inverse=True)[1]
    size = int(place.max()) + 1
    if size < 2:
        return float("nan"), float("nan")
    sums = np.stack([np.bincount(place, column, size) for column in counts.T], 1)
    rng = np.random.default_rng([seed, 23])
    drawn = pooled_dice(sums[rng.integers(0, size, (DRAWS, size))].transpose(1, 0, 2))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def estimates(
    found: Abilities, class_ids: Sequence[int], groups: Sequence[str], seed: int
) -> dict[str, Mean]:
    """Rank correlation with the true mean Dice of an image: of what needs no labels.

    `agreement`: mean over layers of the global reading's agreement with the prediction;
    `confidence`: the mean largest probability; `difference` of the two.
    """
    output = found.output[:, list(class_ids)]
    known = np.flatnonzero(np.isfinite(output).any(1))
    counts = np.isfinite(output[known]).sum(1)
    truth = np.nansum(output[known], 1) / counts
    layers = found.agreement[known][:, :-1]
    agreement = np.nan_to_num(layers, nan=0.0).mean(1)
    sure = found.confidence[known]
    place = np.unique(np.array([groups[i] for i in known.tolist()]), return_inverse=True)[1]
    members = [np.flatnonzero(place == g) for g in range(place.max() + 1)]
    rng = np.random.default_rng([seed, 22])
    drawn = []
    everything = np.arange(len(known))
    for number in range(DRAWS + 1):
        taken = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[g] for g in taken]) if number else everything
        pair = [spearman(truth[rows], score[rows]) for score in (agreement, sure)]
        drawn.append([*pair, pair[0] - pair[1]])
    values = np.array(drawn)
    result = {}
    for column, name in enumerate(("agreement", "confidence", "difference")):
        finite = values[1:, column][np.isfinite(values[1:, column])]
        low, high = (
            np.quantile(finite, [0.025, 0.975])
            if len(members) > 1 and len(finite) > DRAWS / 2
            else (np.nan, np.nan)
        )
        result[name] = Mean(float(values[0, column]), float(low), float(high), len(known))
    return result

"""What the readings say: where classes emerge, what later layers lose, which units carry them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.intervals import FEWEST, bootstrap_interval, units
from conceptseg.stats.p_values import joint_flips
from conceptseg.stats.ranks import spearman
from conceptseg.study.ability.read import ABILITIES, ANSWERING, VARIANTS, Abilities
from conceptseg.study.ability.units import pooled_dice

if TYPE_CHECKING:
    from conceptseg.study.ability.config import Ability

DRAWS = 1000

CONTROLS = {"global": "shuffled", "probe": "shuffled_probe"}
"""The readings that have a control, and those of the shuffled network beside them."""

OUTPUT_FAILS = "the output itself hardly finds it"
TOO_FEW = "too few images or groups to show what was learnt"
NO_CONTROL = "no shuffled network was read"
LIKE_SHUFFLED = "a shuffled network's layer may read it equally well"
LIKE_POSITION = "position alone may read it equally well"


@dataclass(frozen=True)
class Mean:
    """A mean over `n` images with its 95 % interval over groups, nan with under `FEWEST`."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Level:
    """One class at one layer: ability by each reading, against chance and against the output.

    `readings` by variant; `excess` of the global reading over the shuffled network's and
    `probe_excess` of the probe over its probe, each learnt and read on the same images, None
    without the control or in fewer than `min_images`; `above` the global reading less the network's
    own Dice, also over images without the class where either sees it (:func:`paired`), with `p`
    (by sign flips, one-sided for "better by more than the smallest effect") and `p_adjusted` for
    all classes and layers together. `least`: the smallest adjusted p that the level's groups could
    give; above 0.05 they are too few to test.
    """

    class_id: int
    layer: str
    readings: Mapping[str, Mean | None]
    excess: Mean | None
    probe_excess: Mean | None
    above: Mean
    p: float
    p_adjusted: float
    least: float


@dataclass(frozen=True)
class Emergence:
    """The first layer that reads a class at `enough` of the network's own Dice; None if none does.

    `reached` is that layer; `layer` too, but None where something is in `doubt`: then no depth may
    be told. `share`: how often draws of the groups give the same layer. `best` and `best_dice`: the
    layer of largest ability, by hindsight; `last_dice`: the last layer's; `fade`: the best layer's
    less the last's, chosen on other images; `output`: the network's own Dice. `probe_layer`: as
    `layer`, by the probe.
    """

    class_id: int
    images: int
    output: Mean
    layer: str | None
    reached: str | None
    doubt: str
    share: float
    best: str
    best_dice: float
    last_dice: float
    fade: Mean | None
    probe_layer: str | None


@dataclass(frozen=True)
class Forgotten:
    """An object that a layer, chosen on other images, reads far better than the output: Dice of
    both."""

    sample: str
    class_id: int
    layer: str
    seen: float
    output: float


@dataclass(frozen=True)
class Leader:
    """A unit that reads a class well, chosen on half of the images, measured on the other half."""

    layer: str
    unit: int
    dice: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Assessed:
    """Everything that is concluded. `agreement` and `confidence`: rank correlation with true Dice,
    each with its interval, and their difference's. `seen_in_vain`: how often the layers of the
    forgotten objects see a class where neither the labels nor the output have it."""

    class_ids: tuple[int, ...]
    groups: tuple[str, ...]
    unit: str
    levels: Sequence[Level]
    emergence: Sequence[Emergence]
    forgotten: Sequence[Forgotten]
    forgotten_by_chance: tuple[int, int, int]
    seen_in_vain: int
    leaders: Mapping[int, Sequence[Leader]]
    estimates: Mapping[str, Mean]


ASSESSED = Key("assessed", Assessed)


def assess(study: Ability, context: Context, known: Known) -> Known:
    """Raises InputError where no class is in enough images."""
    found = known[ABILITIES]
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
    fixed = settled(study, found, "global", class_ids, groups)
    forgotten = lost(study, found, fixed)
    assessed = Assessed(
        class_ids,
        groups,
        unit,
        levels(study, found, class_ids, groups, context.seed),
        [emerged(study, found, c, groups, context.seed) for c in class_ids],
        forgotten,
        by_chance(study, found, class_ids, groups),
        in_vain(study, found, fixed),
        {c: leaders(study, found, c, groups, context.seed) for c in class_ids},
        estimates(found, class_ids, groups, context.seed),
    )
    return ASSESSED(assessed)


def mean(values: np.ndarray, groups: Sequence[str], seed: int) -> Mean | None:
    """Over the images that have a value; None if there is none."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return None
    own, owners = values[known], [groups[i] for i in known.tolist()]
    low = high = float("nan")
    if len(set(owners)) >= FEWEST:
        low, high = bootstrap_interval(own, owners, seed=seed, draws=DRAWS)
    return Mean(float(own.mean()), low, high, len(known))


def by_student(values: np.ndarray, owners: Sequence[str]) -> Mean:
    """Mean of values [n] with Student's 95 % interval over their groups' sums."""
    from scipy.stats import t as student

    centre, groups = float(values.mean()), len(set(owners))
    low = high = float("nan")
    if groups >= FEWEST:
        rests = group_sums((values - centre)[None], owners)[0]
        error = float(np.sqrt((rests**2).sum() * groups / (groups - 1))) / len(values)
        reach = float(student.ppf(0.975, groups - 1)) * error
        low, high = centre - reach, centre + reach
    return Mean(centre, low, high, len(values))


def enough_of(found: Mean | None, images: int) -> Mean | None:
    """The mean, or None where it rests on fewer images."""
    return None if found is None or found.n < images else found


def dice_of(found: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Dice [n] of one reading of one class."""
    place = found.layers.index(layer)
    values: np.ndarray = found.dice[:, VARIANTS.index(variant), place, class_id]
    return values


def paired(
    study: Ability, found: Abilities, variant: str, layer: str, class_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dice [n] of a reading of `ANSWERING` and of the output, also where either sees in vain.

    In an image without the class the one that sees it (in more than `min_share` of the image) has 0
    and the one that does not has 1; nan where neither does. On images with the class alone, a layer
    that always answers with it would seem to see what the output loses.
    """
    own, output = dice_of(found, variant, layer, class_id), found.output[:, class_id]
    area = area_of(found, variant, layer, class_id)
    said, told = area > study.min_share, found.output_areas[:, class_id] > study.min_share
    vain = ~np.isfinite(output) & np.isfinite(area) & (said | told)
    return np.where(vain, ~said, own), np.where(vain, ~told, output)


def area_of(found: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Share [n] of each image that a reading of `ANSWERING` gives to a class."""
    place = found.layers.index(layer)
    values: np.ndarray = found.areas[:, ANSWERING.index(variant), place, class_id]
    return values


def surplus(
    study: Ability, found: Abilities, variant: str, layer: str, class_id: int
) -> np.ndarray:
    """What a reading has above the output [n], as :func:`paired`."""
    own, output = paired(study, found, variant, layer, class_id)
    difference: np.ndarray = own - output
    return difference


def levels(
    study: Ability,
    found: Abilities,
    class_ids: Sequence[int],
    groups: Sequence[str],
    seed: int,
) -> list[Level]:
    """All classes at all layers, tested together."""
    places = [(class_id, layer) for class_id in class_ids for layer in found.layers]
    above = np.stack([surplus(study, found, "global", layer, c) for c, layer in places])
    tests = joint_flips(group_sums(above - study.smallest_effect, groups), seed=seed)
    made = []
    for row, (class_id, layer) in enumerate(places):
        each = {v: dice_of(found, v, layer, class_id) for v in VARIANTS}
        gap = mean(above[row], groups, seed)
        assert gap is not None
        readings = {v: mean(values, groups, seed) for v, values in each.items()}
        excess, probe_excess = (
            enough_of(mean(each[own] - each[other], groups, seed), study.min_images)
            for own, other in CONTROLS.items()
        )
        told = (float(p[row]) for p in (tests.p, tests.adjusted, tests.least))
        made.append(Level(class_id, layer, readings, excess, probe_excess, gap, *told))
    return made


def group_sums(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Values [m, n] of images summed over each group, [m, g]; what is not known counts as 0."""
    place = np.unique(np.array(groups), return_inverse=True)[1]
    hot = np.eye(int(place.max()) + 1)[place]
    sums: np.ndarray = np.nan_to_num(values, nan=0.0) @ hot
    return sums


def emerged(
    study: Ability, found: Abilities, class_id: int, groups: Sequence[str], seed: int
) -> Emergence:
    hidden = found.layers[:-1]  # the last is position alone
    known = np.flatnonzero(np.isfinite(found.output[:, class_id]))
    owners = [groups[i] for i in known.tolist()]
    rows = np.stack([dice_of(found, "global", layer, class_id)[known] for layer in hidden], 1)
    probe = np.stack([dice_of(found, "probe", layer, class_id)[known] for layer in hidden], 1)
    output = found.output[known, class_id]
    first = _first(rows.mean(0), float(output.mean()), study.enough)
    reached = None if first is None else hidden[first]
    why = doubt(study, found, class_id, "global", reached, groups, seed)
    told = mean(found.output[:, class_id], groups, seed)
    assert told is not None
    average = rows.mean(0)
    by_probe = None
    if np.isfinite(probe).all():
        place = _first(probe.mean(0), float(output.mean()), study.enough)
        by_probe = None if place is None else hidden[place]
        if doubt(study, found, class_id, "probe", by_probe, groups, seed):
            by_probe = None
    return Emergence(
        class_id,
        len(known),
        told,
        None if why else reached,
        reached,
        why,
        agreeing(rows, output, owners, first, study.enough, [seed, 21, class_id]),
        hidden[int(np.argmax(average))],
        float(average.max()),
        float(average[-1]),
        faded(rows, owners),
        by_probe,
    )


def agreeing(
    rows: np.ndarray,
    output: np.ndarray,
    owners: Sequence[str],
    first: int | None,
    enough: float,
    seed: list[int],
) -> float:
    """Share of draws of the groups in which the first layer of Dice [n, l] to reach the output's
    is `first`."""
    place = np.unique(np.array(owners), return_inverse=True)[1]
    members = [np.flatnonzero(place == g) for g in range(place.max() + 1)]
    rng = np.random.default_rng(seed)
    same = 0
    for _ in range(DRAWS):
        taken = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        same += _first(rows[taken].mean(0), float(output[taken].mean()), enough) == first
    return same / DRAWS


def doubt(
    study: Ability,
    found: Abilities,
    class_id: int,
    variant: str,
    layer: str | None,
    groups: Sequence[str],
    seed: int,
) -> str:
    """Why no depth may be told of a class that `layer` reads as well as the output; "" if it may.

    A share of the output's Dice says something only where the output finds the class, and where
    the layer reads it by what was learnt: each has to be surely above what needs no learning.
    """

    control = VARIANTS.index(CONTROLS[variant])
    position = dice_of(found, variant, found.layers[-1], class_id)
    asked = [(found.output[:, class_id] - position, OUTPUT_FAILS)]
    if layer is not None:
        if not np.isfinite(found.dice[:, control]).any():
            return NO_CONTROL
        own = dice_of(found, variant, layer, class_id)
        asked.append((own - dice_of(found, CONTROLS[variant], layer, class_id), LIKE_SHUFFLED))
        asked.append((own - position, LIKE_POSITION))
    for difference, why in asked:
        one = enough_of(mean(difference, groups, seed), study.min_images)
        if one is None or np.isnan(one.low):
            return TOO_FEW
        if one.low <= 0:
            return why
    return ""


def faded(rows: np.ndarray, owners: Sequence[str]) -> Mean | None:
    """Dice [n, l] of the best layer less the last's, the best chosen on the other half's groups.

    Chosen on the images that tell it, the best of several equal layers would lie above the last by
    the luck of the choice. The interval is Student's: as the halves choose for each other, that of
    a bootstrap would be above zero for 8 % of classes that nothing fades of. None where all images
    are of one group.
    """
    half = halved(owners)
    if not half.any():
        return None
    best = np.array([int(np.argmax(rows[half != own].mean(0))) for own in (0, 1)])
    return by_student(rows[np.arange(len(rows)), best[half]] - rows[:, -1], owners)


def halved(owners: Sequence[str]) -> np.ndarray:
    """0 or 1 for each image, by every other group."""
    half: np.ndarray = np.unique(np.array(owners), return_inverse=True)[1] % 2
    return half


def _first(dice: np.ndarray, output: float, enough: float) -> int | None:
    reached = np.flatnonzero(dice >= enough * output)
    return int(reached[0]) if len(reached) and output > 0 else None


Settled = Mapping[tuple[int, int], str]
"""The layer at which an image and a class are looked at, by row and class."""


def settled(
    study: Ability,
    found: Abilities,
    variant: str,
    class_ids: Sequence[int],
    groups: Sequence[str],
) -> Settled:
    """Of each image and class, the layer that reads most objects far better than the output does
    (by `forgotten`) in the other half's groups.

    The best of all layers in each image would be found by luck. Images whose other half does not
    hold a class are left out; of equal layers the last is taken, which is nearest to the output.
    """
    half = halved(groups if len(set(groups)) > 1 else found.ids)
    hidden = found.layers[:-1]  # the last is position alone
    fixed: dict[tuple[int, int], str] = {}
    for class_id in class_ids:
        dice = np.stack([dice_of(found, variant, layer, class_id) for layer in hidden], 1)
        above = dice - found.output[:, class_id, None]
        for own in (0, 1):
            others = above[half != own]
            if not np.isfinite(others).any():
                continue
            counts = (np.nan_to_num(others, nan=-1.0) > study.forgotten).sum(0)
            best = len(hidden) - 1 - int(np.argmax(counts[::-1]))
            fixed |= {(int(row), class_id): hidden[best] for row in np.flatnonzero(half == own)}
    return fixed


def lost(
    study: Ability, found: Abilities, fixed: Settled, variant: str = "global"
) -> list[Forgotten]:
    """Objects that their settled layer reads better than the output by `forgotten`, worst first."""
    listed = []
    for (row, class_id), layer in fixed.items():
        seen = float(dice_of(found, variant, layer, class_id)[row])
        output = float(found.output[row, class_id])
        if seen - output > study.forgotten:
            listed.append(Forgotten(found.ids[row], class_id, layer, seen, output))
    return sorted(listed, key=lambda o: (o.output - o.seen, o.sample, o.class_id))


def in_vain(study: Ability, found: Abilities, fixed: Settled) -> int:
    """How often the settled layer sees a class where neither the labels nor the output have it.

    What is seen has to be of half the mean size of the class where it is, as a few stray pixels
    would make no object readable either.
    """
    count = 0
    for (row, class_id), layer in fixed.items():
        held = np.isfinite(found.output[:, class_id])
        size = float(found.true_areas[held, class_id].mean())
        seen = area_of(found, "global", layer, class_id)[row] >= size / 2
        silent = found.output_areas[row, class_id] <= study.min_share
        count += bool(not held[row] and seen and silent)
    return count


def by_chance(
    study: Ability, found: Abilities, class_ids: Sequence[int], groups: Sequence[str]
) -> tuple[int, int, int]:
    """Objects, those forgotten, and those that a shuffled network's layers, learnt, settled and
    read on the same images, would have us call forgotten; all 0 without the control."""
    fixed = settled(study, found, "shuffled", class_ids, groups)
    if not fixed:
        return 0, 0, 0
    objects = int(np.isfinite(found.output[:, list(class_ids)]).sum())
    trained = lost(study, found, settled(study, found, "global", class_ids, groups))
    return objects, len(trained), len(lost(study, found, fixed, "shuffled"))


def leaders(
    study: Ability, found: Abilities, class_id: int, groups: Sequence[str], seed: int
) -> list[Leader]:
    """The units of largest Dice on every other group's images, told on the images between."""
    if not len(found.unit_rows):
        return []
    owners = np.array([groups[row] for row in found.unit_rows.tolist()])
    choosing = halved(owners.tolist()) == 0
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
    """Percentile interval of the Dice of counts [m, 3] pooled over images, by drawing groups; nan
    with under `FEWEST`."""
    place = np.unique(groups, return_inverse=True)[1]
    size = int(place.max()) + 1
    if size < FEWEST:
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
            if len(members) >= FEWEST and len(finite) > DRAWS / 2
            else (np.nan, np.nan)
        )
        result[name] = Mean(float(values[0, column]), float(low), float(high), len(known))
    return result

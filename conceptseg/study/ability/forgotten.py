"""Forgotten objects: those that a layer reads far better than the output does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.read import Abilities, area_of, dice_of


@dataclass(frozen=True)
class Forgotten:
    """An object that a layer, chosen on other images, reads far better than the output: Dice of
    both."""

    sample: str
    class_id: int
    layer: str
    seen: float
    output: float


Settled = Mapping[tuple[int, int], str]
"""The layer at which an image and a class are looked at, by row and class."""


def settled(
    study: Ability,
    abilities: Abilities,
    variant: str,
    class_ids: Sequence[int],
    sampling: Sampling,
) -> Settled:
    """Of each image and class, the layer that reads most objects far better than the output does
    (by `forgotten`) in the other half's groups.

    The best of all layers in each image would be chosen by luck. Images whose other half does not
    hold a class are left out; of equal layers the last is taken, which is nearest to the output.
    """
    half = (sampling.place if sampling.n > 1 else np.arange(len(abilities.ids))) % 2
    hidden = abilities.layers[:-1]  # the last is position alone
    fixed: dict[tuple[int, int], str] = {}
    for class_id in class_ids:
        dice = np.stack([dice_of(abilities, variant, layer, class_id) for layer in hidden], 1)
        above = dice - abilities.output[:, class_id, None]
        for own in (0, 1):
            others = above[half != own]
            if not np.isfinite(others).any():
                continue
            counts = (np.nan_to_num(others, nan=-1.0) > study.forgotten).sum(0)
            best = len(hidden) - 1 - int(np.argmax(counts[::-1]))
            fixed |= {(int(row), class_id): hidden[best] for row in np.flatnonzero(half == own)}
    return fixed


def lost(
    study: Ability, abilities: Abilities, fixed: Settled, variant: str = "global"
) -> list[Forgotten]:
    """Objects that their settled layer reads better than the output by `forgotten`, worst first."""
    listed = []
    for (row, class_id), layer in fixed.items():
        seen = float(dice_of(abilities, variant, layer, class_id)[row])
        output = float(abilities.output[row, class_id])
        if seen - output > study.forgotten:
            listed.append(Forgotten(abilities.ids[row], class_id, layer, seen, output))
    return sorted(listed, key=lambda o: (o.output - o.seen, o.sample, o.class_id))


def in_vain(study: Ability, abilities: Abilities, fixed: Settled) -> int:
    """How often the settled layer sees a class where neither the labels nor the output have it.

    What is seen has to be of half the mean size of the class where it is, as a few stray pixels
    would make no object readable either.
    """
    count = 0
    for (row, class_id), layer in fixed.items():
        held = np.isfinite(abilities.output[:, class_id])
        size = float(abilities.true_areas[held, class_id].mean())
        seen = area_of(abilities, "global", layer, class_id)[row] >= size / 2
        silent = abilities.output_areas[row, class_id] <= study.min_share
        count += bool(not held[row] and seen and silent)
    return count


def by_chance(
    study: Ability, abilities: Abilities, class_ids: Sequence[int], sampling: Sampling
) -> tuple[int, int, int]:
    """Objects, those forgotten, and those that a shuffled network's layers, learnt, settled and
    read on the same images, would have us call forgotten; all 0 without the control."""
    fixed = settled(study, abilities, "shuffled", class_ids, sampling)
    if not fixed:
        return 0, 0, 0
    objects = int(np.isfinite(abilities.output[:, list(class_ids)]).sum())
    trained = lost(study, abilities, settled(study, abilities, "global", class_ids, sampling))
    return objects, len(trained), len(lost(study, abilities, fixed, "shuffled"))

"""The single units that read a class best."""

from dataclasses import dataclass, replace

import numpy as np

from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.read import Abilities
from conceptseg.study.ability.units import pooled_dice


@dataclass(frozen=True)
class Leader:
    """A unit that reads a class well, chosen on half of the images, measured on the other half, of
    so many images."""

    class_id: int
    rank: int
    layer: str
    unit: int
    dice: Estimate
    images: int


def leaders(
    study: Ability, abilities: Abilities, class_id: int, sampling: Sampling
) -> list[Leader]:
    """The units of largest Dice on every other group's images, measured on the images between."""
    if not len(abilities.unit_rows):
        return []
    own = sampling.at(abilities.unit_rows)
    choosing = own.place % 2 == 0
    held = next(iter(abilities.units.values()))[:, 0, class_id, 2] > 0
    if not held[choosing].any() or not held[~choosing].any():
        return []
    scores: list[tuple[float, str, int]] = []
    for layer, counts in abilities.units.items():
        dice = np.nan_to_num(pooled_dice(counts[choosing][:, :, class_id]))
        best = np.argsort(-dice, kind="stable")[: study.units_shown]
        scores += [(-float(dice[u]), layer, int(u)) for u in best]
    measuring = own.at(~choosing)
    return [
        Leader(class_id, rank, layer, unit, dice_of_unit(counts, measuring), len(counts))
        for rank, (_, layer, unit) in enumerate(sorted(scores)[: study.units_shown], start=1)
        for counts in [abilities.units[layer][~choosing][:, unit, class_id]]
    ]


def dice_of_unit(counts: np.ndarray, sampling: Sampling) -> Estimate:
    """The Dice of counts [m, 3] pooled over images."""
    own = reseeded(sampling, 23)
    sums = np.stack([own.sums(column) for column in counts.T], 1)
    drawn = pooled_dice(sums[own.picks()].transpose(1, 0, 2))
    return own.of_draws(float(pooled_dice(counts)), drawn)


def reseeded(sampling: Sampling, *numbers: int) -> Sampling:
    """The same sampling with draws of its own."""
    seed = sampling.seed if isinstance(sampling.seed, tuple) else (sampling.seed,)
    return replace(sampling, seed=(*seed, *numbers))

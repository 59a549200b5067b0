"""How sure a mean over readings is: over new images, and over others that had taught the reading.

Prototypes are learnt on one half of the images and read the other, so an image counts twice: in
what is read, and in what it teaches. Draws of the images that are read know nothing of the second:
at early layers, where prototypes of other images would read otherwise, 95 % intervals of such draws
hold the mean over new data sets in one case of four. So blocks of images are left out in turn, from
what is read and from what teaches.
"""

from collections.abc import Callable

import numpy as np

from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.study.ability.read import ANSWERING, Abilities, dice_of

DICE = (0.0, 1.0)
"""The bounds of a Dice; those of a difference are -1 and 1."""
Values = Callable[[int], np.ndarray]
"""Values [n] of the images, each read by what its other half taught: all of it (-1), or all but the
numbered block."""


def reading_of(abilities: Abilities, variant: str, layer: str, class_id: int) -> Values:
    """Dice of a reading, in the images that hold the class."""
    whole = dice_of(abilities, variant, layer, class_id)
    left = abilities.left_out
    if left is None or variant not in ANSWERING:
        return lambda block: whole
    place = abilities.layers.index(layer)
    fine = left.dice[:, ANSWERING.index(variant), :, place, class_id]
    return lambda block: whole if block < 0 else whole + fine[:, 1 + block] - fine[:, 0]


def answer_of(
    abilities: Abilities, variant: str, layer: str, class_id: int, least: float
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Of a reading of `ANSWERING` the Dice, where an image lacks the class whether it does not see
    it (in more than `least` of the image), and the same of the output: [n] each.

    On images with the class alone, a layer that always answers with it would seem to see what the
    output loses. nan where an image lacks the class and neither sees it.
    """
    output, left = abilities.output[:, class_id], abilities.left_out
    dice, place = reading_of(abilities, variant, layer, class_id), abilities.layers.index(layer)
    which = ANSWERING.index(variant)
    shown = abilities.output_areas[:, class_id] > least

    def area(block: int) -> np.ndarray:
        whole = abilities.areas[:, which, place, class_id]
        if left is None or block < 0:
            return np.asarray(whole)
        fine = left.areas[:, which, :, place, class_id]
        return np.asarray(whole + fine[:, 1 + block] - fine[:, 0])

    def answers(block: int) -> tuple[np.ndarray, np.ndarray]:
        covered = area(block)
        seen = covered > least
        vain = ~np.isfinite(output) & np.isfinite(covered) & (seen | shown)
        return np.where(vain, ~seen, dice(block)), np.where(vain, ~shown, output)

    return answers


def above_output(
    abilities: Abilities, variant: str, layer: str, class_id: int, least: float
) -> Values:
    """A reading's answer (:func:`answer_of`) less the output's."""
    answers = answer_of(abilities, variant, layer, class_id, least)

    def gaps(block: int) -> np.ndarray:
        own, output = answers(block)
        return own - output

    return gaps


def mean_of(
    abilities: Abilities,
    values: Values,
    sampling: Sampling,
    least: int = 1,
    bounds: tuple[float, float] = DICE,
) -> Estimate | None:
    """Mean of values over the images that have one; None if these are fewer than `least`.

    The interval is Student's with the variance of the delete-a-group jackknife: (r - 1) / r times
    the sum of squares of the means without each of r blocks about their own mean, with r - 1
    degrees of freedom, or one less than the groups that have a value; of no value beyond the
    bounds. That of a Dice (bounds of 0 and 1) also knows of images that none of these shows, for
    most may be read alike (:meth:`Sampling.bounded`). Where nothing is known of the blocks, it
    is that of the sampling.

    Source: Kott 2001, "The delete-a-group jackknife", Journal of Official Statistics 17.
    """
    whole, left = values(-1), abilities.left_out
    known = np.isfinite(whole)
    if known.sum() < least:
        return None
    unseen = sampling.bounded(whole, *bounds) if bounds == DICE else None
    if left is None:
        told = sampling.mean(whole)
        return told if unseen is None else told.joined(unseen)
    from scipy.stats import t as student

    own, means = sampling.at(known), []
    for half, block in sorted(set(zip(left.half.tolist(), left.block.tolist(), strict=True))):
        # What is left out taught the images of the other half, and is not read itself.
        taught = np.where(left.half == half, whole, values(block))
        kept = ~((left.half == half) & (left.block == block)) & np.isfinite(taught)
        if kept.any():
            means.append(float(taught[kept].mean()))
    value, count = float(whole[known].mean()), len(means)
    if min(count, own.n) < 2:
        return Estimate(value, np.nan, np.nan, own.n, own.of)
    freedom = min(count, own.n) - 1
    error = float(np.sqrt((count - 1) * np.var(means)))
    reach = float(student.ppf(0.975, freedom)) * error
    low, high = max(value - reach, bounds[0]), min(value + reach, bounds[1])
    told = Estimate(value, low, high, own.n, own.of)
    return told if unseen is None else told.joined(unseen)

"""What the readings say: where classes emerge, what later layers lose, which units carry them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, by_joint_flips, judge
from conceptseg.stats.ranks import spearman
from conceptseg.study.ability.certainty import (
    DICE,
    Values,
    above_output,
    answer_of,
    mean_of,
    reading_of,
)
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.forgotten import Forgotten, by_chance, in_vain, lost, settled
from conceptseg.study.ability.leaders import Leader, leaders, reseeded
from conceptseg.study.ability.read import ABILITIES, CONTROLS, VARIANTS, Abilities, dice_of
from conceptseg.study.shared.overlap import class_mean
from conceptseg.study.shared.studied import sampling_of

OUTPUT_FAILS = "the output itself hardly finds it"
TOO_FEW = "too few images or groups to show what was learnt"
NO_CONTROL = "no shuffled network was read"
LIKE_SHUFFLED = "a shuffled network's layer may read it equally well"
LIKE_POSITION = "position alone may read it equally well"


@dataclass(frozen=True)
class Level:
    """One class at one layer: ability by each reading, against chance and against the output.

    `readings` by variant, over `images`; `excess` of the global reading over the shuffled network's
    and `probe_excess` of the probe over its probe, each learnt and read on the same images, None
    without the control or in fewer than `min_images`; `above` the global reading less the network's
    own Dice, also over images without the class where either sees it (:func:`paired`); its `test`
    is one-sided for "better by more than the smallest effect", corrected for all classes and layers
    together.
    """

    class_id: int
    layer: str
    readings: Mapping[str, Estimate | None]
    excess: Estimate | None
    probe_excess: Estimate | None
    above: Estimate
    test: Test
    images: int
    excess_images: int
    above_images: int


@dataclass(frozen=True)
class Emergence:
    """The first layer that reads a class at `enough` of the network's own Dice; None if none does.

    `reached` is that layer; `layer` too, but None where something is in `doubt`: then no depth is
    reported. `share`: how often draws of the groups give the same layer. `best` and `best_dice`:
    the layer of largest ability, by hindsight; `last_dice`: the last layer's; `fade`: the best
    layer's less the last's, chosen on other images; `output`: the network's own Dice.
    `probe_layer`: as `layer`, by the probe.
    """

    class_id: int
    images: int
    output: Estimate
    layer: str | None
    reached: str | None
    doubt: str
    share: float
    best: str
    best_dice: float
    last_dice: float
    fade: Estimate | None
    probe_layer: str | None


@dataclass(frozen=True)
class Assessed:
    """Everything that is concluded. `agreement` and `confidence`: rank correlation with true Dice,
    over so many images (`judged`), and their difference. `seen_in_vain`: how often the layers of
    the forgotten objects see a class where neither the labels nor the output have it."""

    class_ids: tuple[int, ...]
    sampling: Sampling
    levels: Sequence[Level]
    emergence: Sequence[Emergence]
    forgotten: Sequence[Forgotten]
    forgotten_by_chance: tuple[int, int, int]
    seen_in_vain: int
    leaders: Mapping[int, Sequence[Leader]]
    estimates: Mapping[str, Estimate]
    judged: int


ASSESSED = Key("assessed", Assessed)


def assess(study: Ability, context: Context, known: Known) -> Known:
    """Raises InputError where no class is in enough images."""
    abilities = known[ABILITIES]
    sampling = sampling_of(context, abilities.ids, study.unit, context.seed, draws=1000)
    wanted = study.class_ids(context)
    held = {c: int(np.isfinite(abilities.output[:, c]).sum()) for c in wanted}
    class_ids = tuple(c for c in wanted if held[c] >= study.min_images)
    if not class_ids:
        most = max(wanted, key=lambda c: held[c])
        raise InputError(
            f"{context.manifest.where}: no class is in {study.min_images} labelled images "
            f"({context.model.classes[most]!r} is in most, {held[most]}); add images or lower "
            "min_images"
        )
    fixed = settled(study, abilities, "global", class_ids, sampling)
    assessed = Assessed(
        class_ids,
        sampling,
        levels(study, abilities, class_ids, sampling, context.seed),
        [emerged(study, abilities, c, sampling) for c in class_ids],
        lost(study, abilities, fixed),
        by_chance(study, abilities, class_ids, sampling),
        in_vain(study, abilities, fixed),
        {c: leaders(study, abilities, c, sampling) for c in class_ids},
        estimates(abilities, class_ids, sampling),
        int(np.isfinite(abilities.output[:, list(class_ids)]).any(1).sum()),
    )
    return ASSESSED(assessed)


def levels(
    study: Ability,
    abilities: Abilities,
    class_ids: Sequence[int],
    sampling: Sampling,
    seed: int,
) -> list[Level]:
    """All classes at all layers, tested together."""
    places = [(class_id, layer) for class_id in class_ids for layer in abilities.layers]
    above = [np.subtract(*paired(study, abilities, "global", layer, c)) for c, layer in places]
    tests = judge(
        [Question(one - study.smallest_effect, sampling) for one in above],
        side="greater",
        seed=seed,
        policy=by_joint_flips,
    )
    result = []
    for (class_id, layer), gap, test in zip(places, above, tests, strict=True):
        each = {v: reading_of(abilities, v, layer, class_id) for v in VARIANTS}
        beyond, probe = (less(each[own], each[other]) for own, other in CONTROLS.items())
        excess = mean_of(abilities, beyond, sampling, study.min_images, (-1, 1))
        beside = above_output(abilities, "global", layer, class_id, study.min_share)
        better = mean_of(abilities, beside, sampling, 0, (-1, 1))
        assert better is not None
        result.append(
            Level(
                class_id,
                layer,
                {v: mean_of(abilities, values, sampling) for v, values in each.items()},
                excess,
                mean_of(abilities, probe, sampling, study.min_images, (-1, 1)),
                better,
                test,
                images=int(np.isfinite(each["global"](-1)).sum()),
                excess_images=int(np.isfinite(beyond(-1)).sum()) if excess else 0,
                above_images=int(np.isfinite(gap).sum()),
            )
        )
    return result


def less(one: Values, other: Values) -> Values:
    """The differences of two readings of the same images."""
    return lambda block: one(block) - other(block)


def emerged(study: Ability, abilities: Abilities, class_id: int, sampling: Sampling) -> Emergence:
    hidden = abilities.layers[:-1]  # the last is position alone
    known = np.flatnonzero(np.isfinite(abilities.output[:, class_id]))
    output, own = abilities.output[known, class_id], sampling.at(known)

    def first(dice: np.ndarray, output: np.ndarray) -> int:
        """The first layer of Dice [n, l] to reach the output's; -1 if none does."""
        bar, average = float(output.mean()), dice.mean(0)
        reached = np.flatnonzero(average >= study.enough * bar)
        return int(reached[0]) if len(reached) and bar > 0 else -1

    def read_by(variant: str) -> tuple[np.ndarray, int, str | None, str]:
        dice = [dice_of(abilities, variant, layer, class_id)[known] for layer in hidden]
        place = first(np.stack(dice, 1), output)
        layer = hidden[place] if place >= 0 else None
        why = doubt(study, abilities, class_id, variant, layer, sampling)
        return np.stack(dice, 1), place, layer, why

    rows, place, reached, why = read_by("global")
    *_, by_probe, unsure = read_by("probe")
    drawn = reseeded(own, 21, class_id).drawn(lambda taken: first(rows[taken], output[taken]))
    average = rows.mean(0)
    return Emergence(
        class_id,
        len(known),
        own.mean(output).joined(own.bounded(output, *DICE)),
        None if why else reached,
        reached,
        why,
        float((drawn == place).mean()),
        hidden[int(np.argmax(average))],
        float(average.max()),
        float(average[-1]),
        faded(rows, own),
        None if unsure else by_probe,
    )


def faded(rows: np.ndarray, sampling: Sampling) -> Estimate | None:
    """Dice [n, l] of the best layer less the last's, the best chosen on the other half's groups.

    Chosen on the images that measure it, the best of several equal layers would lie above the last
    by the luck of the choice. The interval is Student's: because the halves choose for each other,
    that of a bootstrap would be above zero for 8 % of classes that nothing fades of. None where all
    images are of one group.
    """
    half = sampling.place % 2
    if not half.any():
        return None
    best = np.array([int(np.argmax(rows[half != own].mean(0))) for own in (0, 1)])
    return by_student(rows[np.arange(len(rows)), best[half]] - rows[:, -1], sampling)


def by_student(values: np.ndarray, sampling: Sampling) -> Estimate:
    """Mean of values [n] with Student's 95 % interval over their groups' sums."""
    from scipy.stats import t as student

    centre, n = float(values.mean()), sampling.n
    rests = sampling.sums(values - centre)
    error = float(np.sqrt((rests**2).sum() * n / (n - 1))) / len(values)
    reach = float(student.ppf(0.975, n - 1)) * error
    return Estimate(centre, centre - reach, centre + reach, n, sampling.of)


def paired(
    study: Ability, abilities: Abilities, variant: str, layer: str, class_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dice [n] of a reading of `ANSWERING` and of the output, also where either sees in vain."""
    return answer_of(abilities, variant, layer, class_id, study.min_share)(-1)


def doubt(
    study: Ability,
    abilities: Abilities,
    class_id: int,
    variant: str,
    layer: str | None,
    sampling: Sampling,
) -> str:
    """Why no depth may be reported of a class that `layer` reads like the output; "" if it may.

    A share of the output's Dice says something only where the output finds the class, and where the
    layer reads it by what was learnt: each has to lie above what needs no learning.
    """
    control = VARIANTS.index(CONTROLS[variant])
    position = reading_of(abilities, variant, abilities.layers[-1], class_id)
    asked = [(less(lambda block: abilities.output[:, class_id], position), OUTPUT_FAILS)]
    if layer is not None:
        if not np.isfinite(abilities.dice[:, control]).any():
            return NO_CONTROL
        own = reading_of(abilities, variant, layer, class_id)
        shuffled = reading_of(abilities, CONTROLS[variant], layer, class_id)
        asked.append((less(own, shuffled), LIKE_SHUFFLED))
        asked.append((less(own, position), LIKE_POSITION))
    for difference, why in asked:
        gap = mean_of(abilities, difference, sampling, study.min_images, (-1, 1))
        if gap is None or gap.ci is None:
            return TOO_FEW
        if not gap.above(0):
            return why
    return ""


def estimates(
    abilities: Abilities, class_ids: Sequence[int], sampling: Sampling
) -> dict[str, Estimate]:
    """Rank correlation with the true mean Dice of an image: of what needs no labels.

    `agreement`: mean over layers of the global reading's agreement with the prediction;
    `confidence`: the mean largest probability; `difference` of the two.
    """
    output = abilities.output[:, list(class_ids)]
    known = np.flatnonzero(np.isfinite(output).any(1))
    truth, own = class_mean(output[known]), reseeded(sampling.at(known), 22)

    def told_by(scores: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda rows: spearman(truth[rows], scores[rows])

    agreement = told_by(np.nan_to_num(abilities.agreement[known, :-1], nan=0.0).mean(1))
    confidence = told_by(abilities.confidence[known])
    return {
        "agreement": own.statistic(agreement),
        "confidence": own.statistic(confidence),
        "difference": own.statistic(lambda rows: agreement(rows) - confidence(rows)),
    }

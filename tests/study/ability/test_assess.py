"""What is concluded from readings that are made up, so that the truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.ability import assess, findings, forgotten
from conceptseg.study.ability.config import POSITION
from conceptseg.study.ability.read import ANSWERING, VARIANTS, Abilities

STUDY = SimpleNamespace(
    enough=0.9, forgotten=0.3, smallest_effect=0.02, units_shown=3, min_images=5, min_share=0.0005
)


def made(dice, output, **others):
    """Abilities of global readings [n, l, k], the last layer position alone, and of others."""
    n, layers, k = dice.shape
    every = np.full((n, len(VARIANTS), layers, k), np.nan)
    every[:, 0] = dice
    for name, values in others.items():
        every[:, VARIANTS.index(name)] = values
    return Abilities(
        tuple(f"i{i:03d}" for i in range(n)),
        (*(f"L{j}" for j in range(layers - 1)), POSITION),
        every,
        output,
        np.zeros((n, layers)),
        np.zeros(n),
        np.zeros((n, len(ANSWERING), layers, k)),
        np.zeros((n, k)),
        np.full((n, k), 0.1),
        {},
        np.array([], int),
    )


def counting(names):
    """Of images that count as these groups."""
    ids = tuple(f"i{i:03d}" for i in range(len(names)))
    return Sampling(ids, tuple(names), "groups", 0, 1000)


def levels(found, class_ids, names, study=STUDY, seed=0):
    return assess.levels(study, found, class_ids, counting(names), seed)


def claim(found):
    one = assess.emerged(STUDY, found, 0, counting(found.ids))
    places = {(o.class_id, o.layer): o for o in levels(found, [0], found.ids)}
    return one, findings._emerges(one, places, ["cat"]).claim


def around(value, n=30, layers=4, seed=0):
    return np.clip(np.random.default_rng(seed).normal(value, 0.02, (n, layers, 1)), 0, 1)


def test_no_depth_is_told_of_what_the_output_hardly_finds():
    found = made(around(0.03), around(0.02)[:, 0], shuffled=around(0.03, seed=1))
    one, told = claim(found)
    assert one.layer is None and one.reached == "L0"
    assert "the output itself hardly finds it; no depth is reported" in told
    assert "becomes readable" not in told


def test_no_depth_is_told_of_what_a_shuffled_network_or_position_alone_reads():
    dice = np.concatenate([around(0.6, layers=3), around(0.3, layers=1)], 1)
    output = around(0.6, seed=2)[:, 0]
    one, told = claim(made(dice, output, shuffled=around(0.6, seed=1)))
    assert one.layer is None and assess.LIKE_SHUFFLED in told
    one, told = claim(made(dice, output))
    assert one.layer is None and assess.NO_CONTROL in told
    one, told = claim(made(dice[:4], output[:4], shuffled=around(0.2, seed=1)[:4]))
    assert one.layer is None and assess.TOO_FEW in told
    placed = np.concatenate([around(0.6, layers=3), around(0.6, layers=1, seed=3)], 1)
    one, told = claim(made(placed, around(0.65)[:, 0], shuffled=around(0.3, seed=1)))
    assert one.layer is None and assess.LIKE_POSITION in told


def test_the_depth_of_what_was_learnt_is_told():
    dice = np.concatenate([around(0.2, layers=1), around(0.6, layers=2), around(0.1, layers=1)], 1)
    one, told = claim(made(dice, around(0.6, seed=2)[:, 0], shuffled=around(0.2, seed=1)))
    assert one.layer == "L1" and one.doubt == "" and "becomes readable at L1" in told


@pytest.mark.parametrize("n", [8, 20])
def test_the_best_of_equal_layers_is_rarely_above_the_last(n):
    rng, times = np.random.default_rng(n), 400
    images = counting([f"i{i:03d}" for i in range(n)])
    above = 0
    for _ in range(times):
        rows = np.clip(rng.beta(2, 2, (n, 1)) + rng.normal(0, 0.2, (n, 10)), 0, 1)
        above += assess.faded(rows, images).above(0)
    assert above / times < 0.06  # 0.025, and what chance makes of it in so many trials
    rows[:, 4] += 0.5
    assert assess.faded(rows, images).above(0)


def cells(groups, each, layers, effect, seed=0):
    """`layers` layers of which the first is better than the output by `effect`."""
    rng = np.random.default_rng(seed)
    n = groups * each
    owners = [f"g{i // each:02d}" for i in range(n)]
    own = np.repeat(rng.normal(0, 0.03, (groups, layers, 1)), each, 0)
    dice = 0.5 + own + rng.normal(0, 0.02, (n, layers, 1))
    dice[:, 0] += effect
    return made(dice, np.full((n, 1), 0.5)), owners


def test_eight_groups_can_show_one_of_many_cells():
    found, owners = cells(8, 5, 121, 0.3)
    told = levels(found, [0], owners)
    assert told[0].test.passed
    assert not any(one.test.passed for one in told[1:])


def test_of_no_effects_few_are_found():
    false = 0
    for seed in range(60):
        found, owners = cells(8, 3, 30, 0.0, seed)
        study = SimpleNamespace(**{**vars(STUDY), "smallest_effect": 0.0})
        cells_of = levels(found, [0], owners, study, seed)
        false += any(one.test.passed for one in cells_of)
    assert false / 60 <= 0.12


def test_four_groups_are_too_few_to_test_and_have_no_interval():
    found, owners = cells(4, 5, 10, 0.3)
    told = levels(found, [0], owners)
    assert not any(one.test.testable for one in told)
    assert all(np.isnan(one.test.adjusted) for one in told), "rule f: a p that cannot pass is none"
    assert (told[0].above.n, told[0].above_images) == (4, 20) and told[0].above.ci is None
    found, owners = cells(5, 5, 10, 0.3)
    assert np.isfinite(levels(found, [0], owners)[0].above.low)


def sides(says, truth):
    """Of answers 0 or 1 [n]: Dice [n, 2], 0.9 where they are right, and the areas they cover."""
    dice = np.full((len(truth), 2), np.nan)
    dice[np.arange(len(truth)), truth] = (says == truth) * 0.9
    return dice, 0.1 * np.eye(2)[says]


def told_of(layers, output, truth):
    """Abilities of layers that each name one of two classes in every image."""
    pairs = [sides(says, truth) for says in (*layers, layers[-1])]
    dice, shares = (np.stack(parts, 1) for parts in zip(*pairs, strict=True))
    found = made(dice, sides(output, truth)[0], shuffled=dice)
    areas = np.stack([shares, shares], 1)
    return replace(found, areas=areas, output_areas=sides(output, truth)[1])


def test_a_layer_that_always_gives_one_answer_is_not_above_a_guess():
    rng = np.random.default_rng(0)
    truth, output = rng.integers(0, 2, (2, 100))
    found = told_of([np.zeros(100, int)] * 3, output, truth)
    told = levels(found, [0, 1], found.ids)
    assert not any(one.test.passed for one in told)
    assert abs(told[0].above.value) < 0.15  # on images of class 0 alone it is about 0.45
    fixed = forgotten.settled(STUDY, found, "global", [0], counting(found.ids))
    assert forgotten.in_vain(STUDY, found, fixed) == int(((truth == 1) & (output == 1)).sum())
    own, other = assess.paired(STUDY, found, "global", "L0", 0)
    held = truth == 0
    assert np.isfinite(own[held]).all() and (own[~held] == 0).all()
    assert (other[~held] == np.where(output[~held] == 0, 0.0, 1.0)).all()


def test_a_layer_that_knows_is_above_the_output_and_names_what_is_forgotten():
    rng = np.random.default_rng(0)
    truth, output = rng.integers(0, 2, (2, 100))
    found = told_of([1 - truth, truth, rng.integers(0, 2, 100)], output, truth)
    told = {(o.class_id, o.layer): o for o in levels(found, [0, 1], found.ids)}
    assert told[0, "L1"].test.adjusted < 0.01 and told[0, "L1"].above.value > 0.4
    fixed = forgotten.settled(STUDY, found, "global", [0, 1], counting(found.ids))
    assert set(fixed.values()) == {"L1"}
    listed = forgotten.lost(STUDY, found, fixed)
    assert {one.sample for one in listed} == {found.ids[i] for i in np.flatnonzero(truth != output)}
    assert forgotten.in_vain(STUDY, found, fixed) == 0


def test_many_guessing_layers_forget_no_more_than_one():
    rng = np.random.default_rng(0)
    truth, output = rng.integers(0, 2, (2, 400))
    found = told_of(rng.integers(0, 2, (10, 400)), output, truth)
    listed = forgotten.lost(
        STUDY, found, forgotten.settled(STUDY, found, "global", [0, 1], counting(found.ids))
    )
    wrong = int((truth != output).sum())
    assert len(listed) < 0.65 * wrong  # a guess is right in half; one of ten nearly always
    chance = forgotten.by_chance(STUDY, found, [0, 1], counting(found.ids))
    assert chance == (400, len(listed), len(listed))


def test_rule_d_findings_say_that_groups_are_counted():
    found, owners = cells(8, 5, 10, 0.3)
    told = levels(found, [0], owners)
    assessed = SimpleNamespace(levels=told)
    (better,) = findings.better(assessed, ["cat"])
    assert (better.n, better.of, better.standing) == (8, "groups", "evidence")
    assert "over 40 images" in better.claim

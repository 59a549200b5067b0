"""BioExp's rule, by a second derivation; and random groups of units, which hardly pass ours."""

from collections import Counter
from math import log

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.graph.assess import Measured, beyond_random, judged, sizes
from conceptseg.study.graph.atoms import Atom, Atoms
from conceptseg.study.graph.null import edge_information


def by_counting(first, second, bins):
    """Mutual information over the mean entropy, from dictionaries of cells."""

    def cell(values):
        low, high = min(values), max(values)
        return [min(int((v - low) / (high - low) * bins), bins - 1) for v in values]

    def entropy(things):
        return -sum(c / len(things) * log(c / len(things)) for c in Counter(things).values())

    one, other = cell(first), cell(second)
    both = list(zip(one, other, strict=True))
    told = entropy(one) + entropy(other) - entropy(both)
    return 2 * told / (entropy(one) + entropy(other))


@pytest.mark.parametrize("n", [10, 40, 300])
def test_information_is_counted_by_hand(n):
    first, second = np.random.default_rng(n).normal(size=(2, n))
    expected = by_counting(first.tolist(), second.tolist(), 100)
    assert edge_information(first, second) == pytest.approx(expected, abs=1e-9)


def test_ten_images_tell_everything_and_two_dead_units_are_one():
    rng = np.random.default_rng(0)
    few, many = (
        np.mean([edge_information(*rng.normal(size=(2, n))) for _ in range(50)]) for n in (10, 5000)
    )
    assert few > 0.9 and many < 0.25
    assert edge_information(np.zeros(10), np.zeros(10)) == 1.0


def test_ps_of_random_groups_are_spread_evenly():
    """Of what units owe, as heavy-tailed as in trained networks, groups that mean nothing."""
    rng = np.random.default_rng(3)
    sizes, claimed = (4, 8, 6, 6), 0
    for number in range(40):
        units = np.split(rng.permutation(24), np.cumsum(sizes)[:-1])
        atoms = Atoms(
            ("a", "b"),
            (Atom(0, 1, (0,)), *(Atom(1, n, tuple(own.tolist())) for n, own in enumerate(units))),
            (np.zeros(1), np.zeros(24)),
            (np.ones(1), np.ones(24)),
        )
        # Of each unit a scale that all images share.
        owed = rng.standard_t(2, size=(1, 1, 3, 24)) * rng.normal(size=(12, 1, 3, 24))
        by_unit = {"ways 0 1": owed, "straight 1": owed[:, 0], "straight 0": owed[:, 0, :, :1]}
        found = beyond_random(999, by_unit, atoms, 3, np.random.default_rng(number))
        assert len(found) == 2 * 4 * 3
        claimed += min(found.values()) <= 0.05
    assert claimed <= 40 * (0.05 + 2 * np.sqrt(0.05 * 0.95 / 40))


def test_a_group_that_carries_all_is_beyond_random_ones():
    atoms = Atoms(
        ("a", "b"),
        (Atom(0, 1, (0,)), Atom(1, 1, (0, 1, 2, 3)), Atom(1, 2, tuple(range(4, 40)))),
        (np.zeros(1), np.zeros(40)),
        (np.ones(1), np.ones(40)),
    )
    rng = np.random.default_rng(0)
    owed = rng.normal(0, 0.01, size=(9, 1, 1, 40))
    owed[..., :4] += rng.choice((-1.0, 1.0), (9, 1, 1, 1))  # of either sign, by the image
    by_unit = {"ways 0 1": owed, "straight 1": 0 * owed[:, 0]}
    found = beyond_random(1999, by_unit, atoms, 1, np.random.default_rng(0))
    assert found[0, 1, 0] <= 0.05
    assert found[1, None, 0] == 1.0


def judged_of(effects, number):
    names = tuple(f"s{i:02}" for i in range(len(effects)))
    of = [(0, 1, k) for k in range(effects.shape[1])]
    measured = Measured(of, effects, effects, np.zeros(len(of)))
    return judged([measured], Sampling(names, names, "images", number, 50), {}, 0.05, number)


def test_effects_that_just_do_not_count_are_rarely_edges():
    rng, false = np.random.default_rng(4), 0
    for number in range(60):
        effects = rng.exponential(0.05, (20, 10)) * rng.choice((-1, 1), (20, 10))
        false += any(one.confirmed for one in judged_of(effects, number))
    assert false <= 60 * (0.05 + 2 * np.sqrt(0.05 * 0.95 / 60))


def test_an_edge_of_either_sign_is_found_and_unlike_directions_are_none():
    rng = np.random.default_rng(5)
    effects = rng.normal(0, 1, (24, 1))
    (one,) = judged_of(effects, 0)
    assert one.confirmed and one.size.value == pytest.approx(np.abs(effects).mean())
    np.testing.assert_array_equal(sizes(np.array([[2.0, 1.0]]), np.array([[-3.0, 3.0]])), [[0, 1]])


def test_what_few_images_show_of_an_edge_is_not_all_there_is():
    """One edge moves one image in twenty, another all, as far: draws of twenty images hold what the
    first moves in the mean in half of the data sets."""
    held = []
    for number in range(100):
        rng = np.random.default_rng([number, 5])
        moved = np.stack([2.0 * (rng.random(20) < 0.05), np.full(20, 2.0)], 1)
        rare, _ = (one.size for one in judged_of(moved, number))
        names = tuple(map(str, range(20)))
        drawn = Sampling(names, names, "images", number, 200).mean(moved[:, 0])
        held.append([one.low <= 0.1 <= one.high for one in (rare, drawn)])
    new, plain = np.mean(held, 0)
    assert new >= 0.92 and plain < 0.75

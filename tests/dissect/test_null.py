"""What chance gives: permutations against loops, p-values of nothing, rotations."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from conceptseg.dissect import null
from conceptseg.dissect.measures import Overlaps
from conceptseg.dissect.null import SIDE, haar, permuted, power, rotated
from tests.dissect.small import kept, vocabulary

WORDS = vocabulary(3, 1)


def scenes(images, units, seed, planted=0):
    """Smooth random maps and blocks of concepts; `planted` units follow concept 0.0."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (images, 2, 8, 8))
    coarse[:, 1] = coarse[:, 1] % 2
    slots = coarse.repeat(4, 2).repeat(4, 3).astype(np.int16)
    maps = rng.normal(size=(images, units, 8, 8)).repeat(4, 2).repeat(4, 3)
    maps[:, :planted] += 4.0 * (slots[:, None, 0] == 0)
    return kept(maps, slots, WORDS, [1] * images)


def test_the_statistic_is_that_of_a_loop():
    """The best overlap of each unit, for the labels as they are and for one permutation."""
    images = scenes(5, 3, 0)
    cut, low = np.array([0.5, 0.0, 1.0]), np.array([False, True, False])
    allowed = np.array([0, 2, 3])
    one = permuted(images, cut, low, cut, allowed, draws=19, min_overlap=0.1, seed=4)
    rng = np.random.default_rng([4, 11])
    orders = [np.arange(5), *(rng.permutation(5) for _ in range(19))]
    for number in (0, 7):
        for unit in range(3):
            best = -1.0
            for concept in allowed:
                g = int(WORDS.category[concept])
                slot = int(concept - (0, 3)[g])
                total = np.zeros(4)
                for i, j in enumerate(orders[number]):
                    on = (images.maps[i][unit] > np.float32(cut[unit])) != low[unit]
                    shows = images.slots[j][g] == slot
                    known = images.slots[j][g] != WORDS.categories[g].unknown
                    total += [(on & shows).sum(), (on & known).sum(), shows.sum(), known.sum()]
                best = max(best, float(Overlaps(*total).above_chance))
            found = one.observed[unit] if number == 0 else one.null[number - 1, unit]
            assert found == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("groups", [8, 16])
def test_images_of_a_group_that_are_alike_are_no_evidence(groups):
    """Units and labels that differ between groups, and hardly within, but in no common way."""
    size, shares = 32 // groups, []
    for seed in range(3):
        first = scenes(groups, 60, seed)
        rng = np.random.default_rng(seed)
        maps = np.stack(first.maps).repeat(size, 0) + 0.1 * rng.normal(size=(32, 60, 32, 32))
        members = tuple(str(i // size) for i in range(32))
        images = replace(
            kept(maps, np.stack(first.slots).repeat(size, 0), WORDS, [1] * 32), member=members
        )
        cut, low = np.full(60, 0.8), np.zeros(60, bool)
        arguments = {"draws": 399, "min_overlap": 0.1, "seed": seed}
        one = permuted(images, cut, low, cut, np.arange(4), **arguments)
        assert one.grouped and one.images == 32
        alone = permuted(
            replace(images, member=images.ids), cut, low, cut, np.arange(4), **arguments
        )
        assert not alone.grouped
        shares.append(((one.p <= 0.05).mean(), (alone.p <= 0.05).mean()))
    grouped, single = np.mean(shares, axis=0)
    assert grouped < 0.1 and single > 0.15


def test_few_groups_are_not_exchanged():
    images = scenes(8, 2, 0)
    members = tuple("abcdeeee")
    cut, low = np.full(2, 0.8), np.zeros(2, bool)
    arguments = {"draws": 19, "min_overlap": 0.1, "seed": 0}
    one = permuted(replace(images, member=members), cut, low, cut, np.arange(4), **arguments)
    assert not one.grouped and one.images == 8


def test_units_that_follow_nothing_have_uniform_p_and_planted_ones_the_smallest():
    images = scenes(16, 150, 1, planted=2)
    cut, low = np.full(150, 0.8), np.zeros(150, bool)
    one = permuted(images, cut, low, cut, np.arange(4), draws=199, min_overlap=0.1, seed=0)
    assert (one.p[:2] == 1 / 200).all() and (one.p_family[:2] == 1 / 200).all()
    assert kstest(one.p[2:], "uniform").pvalue > 0.01
    assert (one.p_family[2:] > 0.05).mean() > 0.95
    assert one.rate == pytest.approx(0.05, abs=0.02)
    assert one.detectors < 0.01


def test_blocks_of_units_change_nothing(monkeypatch):
    images = scenes(6, 7, 2)
    cut, low = np.zeros(7), np.zeros(7, bool)
    arguments = {"draws": 29, "min_overlap": 0.1, "seed": 0}
    whole = permuted(images, cut, low, cut, np.arange(4), **arguments)
    original = null._best

    def by_one(*given):
        kept_, chosen, threshold, lower, *rest = given
        for unit in range(len(threshold)):
            own = kept(
                np.stack(kept_.maps)[:, unit : unit + 1], np.stack(kept_.slots), WORDS, [1] * 6
            )
            yield from original(own, chosen, threshold[[unit]], lower[[unit]], *rest)

    monkeypatch.setattr(null, "_best", by_one)
    single = permuted(images, cut, low, cut, np.arange(4), **arguments)
    np.testing.assert_array_equal(whole.null, single.null)


def test_a_power_of_a_rotation_goes_a_part_of_the_way():
    turn = haar(9, np.random.default_rng(0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(9), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    half = power(turn, 0.5)
    np.testing.assert_allclose(half @ half, turn, atol=1e-10)
    np.testing.assert_allclose(half @ half.T, np.eye(9), atol=1e-10)
    np.testing.assert_allclose(power(turn, 0.0), np.eye(9), atol=1e-10)


def test_rotations_are_spread_evenly():
    """Of a Haar rotation any entry has mean 0 and variance 1 / size."""
    entries = np.array([haar(5, np.random.default_rng(seed))[0, 1] for seed in range(2000)])
    assert abs(entries.mean()) < 0.03
    assert entries.var() == pytest.approx(0.2, rel=0.1)


def test_rotating_a_basis_that_is_planted_loses_detectors():
    """Each unit is one of four concepts; mixtures of all units are none."""
    rng = np.random.default_rng(3)
    coarse = np.stack([rng.integers(0, 3, (16, 8, 8)), rng.integers(0, 2, (16, 8, 8))], 1)
    slots = coarse.repeat(4, 2).repeat(4, 3).astype(np.int16)
    own = [(slots[:, 0] == c).astype(float) for c in range(3)] + [(slots[:, 1] == 0) * 1.0]
    maps = np.stack(own * 4, 1) + 0.05 * rng.normal(size=(16, 16, SIDE, SIDE))
    images = kept(maps, slots, WORDS, [0, 1] * 8)
    found = rotated(images, np.arange(4), (0.1, 0.3, 0.5), draws=2, min_overlap=0.3, seed=0)
    unique = {row["angle"]: row["unique"] for row in found.rows}
    detectors = {row["angle"]: row["detectors"] for row in found.rows}
    assert unique[0.0] == 4 and detectors[0.0] == 16
    assert detectors[1.0] < detectors[0.0]

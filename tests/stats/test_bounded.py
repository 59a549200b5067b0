"""Intervals of losses near an end of their range, by simulation of what they promise."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import bootstrap_interval, bounded_interval, unseen_share


def near_total(rng, shape):
    """19 of 20 lose all of an IoU of about 0.96, one nothing: mean -0.9."""
    lost = np.clip(-0.957 + 0.03 * rng.normal(size=shape), -0.96, 0)
    lost[rng.random(shape) < 0.045] = -0.02
    return lost


def total(rng, shape):
    return -0.96 * rng.beta(8, 0.5, shape)


def normal(rng, shape):
    return -0.3 + 0.1 * rng.normal(size=shape)


def rare(rng, shape):
    """One in ten loses 0.3."""
    return -0.3 * (rng.random(shape) < 0.1) + 0.005 * rng.normal(size=shape)


def slight(rng, shape):
    """Hardly any, with heavy tails."""
    return np.clip(0.0065 * rng.standard_t(2.2, shape), -0.8, 0.2)


LAWS = {near_total: -0.96, total: -0.96, normal: -0.8, rare: -0.8, slight: -0.8}


def coverage(law, n, sets=500):
    rng = np.random.default_rng(n)
    mean = law(rng, 400_000).mean()
    place = np.arange(n)
    ends = np.array([bounded_interval(one, place, LAWS[law], 0.0) for one in law(rng, (sets, n))])
    return float(((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean())


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 8, 20, 60])
@pytest.mark.parametrize("law", LAWS)
def test_intervals_hold_what_they_promise(law, n):
    assert coverage(law, n) >= 0.92


@pytest.mark.slow
def test_of_usual_losses_they_cover_no_more_than_promised():
    assert coverage(normal, 60, 2000) == pytest.approx(0.95, abs=0.015)


def test_a_bootstrap_misses_a_loss_that_is_nearly_total():
    rng, n = np.random.default_rng(0), 20
    mean = near_total(rng, 400_000).mean()
    names = [str(i) for i in range(n)]
    drawn = near_total(rng, (100, n))
    low, high = np.array([bootstrap_interval(one, names, seed=0) for one in drawn]).T
    ends = np.array([bounded_interval(one, np.arange(n), -0.96, 0) for one in drawn])
    assert ((low <= mean) & (mean <= high)).mean() < 0.75
    assert ((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean() >= 0.95


def test_a_part_of_pixels_that_few_images_lack_is_covered():
    """One image in twenty has a third of its pixels right, all others have nearly all."""
    rng, n = np.random.default_rng(3), 20
    names = tuple(f"{i:02d}" for i in range(n))

    def drawn(count):
        wholes = rng.integers(50, 500, count)
        bad = rng.random(count) < 0.05
        return np.where(bad, wholes // 3, wholes - rng.integers(0, 3, count)), wholes

    parts, wholes = drawn(400_000)
    truth, held = parts.sum() / wholes.sum(), []
    for seed in range(150):
        sampling, (parts, wholes) = Sampling(names, names, "images", seed, 300), drawn(n)
        made = (sampling.part(parts, wholes), sampling.ratio(parts, wholes))
        assert made[0].value == made[1].value == parts.sum() / wholes.sum()
        held.append([one.low <= truth <= one.high for one in made])
    part, ratio = np.mean(held, 0)
    assert part >= 0.95 and ratio < 0.75
    assert np.isnan(sampling.part(np.zeros(n), np.zeros(n)).value)


def test_weights_count_as_repeated_values():
    values, place, weights = np.array([0.2, 0.9, 0.4, 1.0]), np.array([0, 0, 1, 2]), [3, 1, 2, 2]
    many = bounded_interval(values.repeat(weights), place.repeat(weights), 0.0, 1.0)
    assert bounded_interval(values, place, 0.0, 1.0, weights=weights) == pytest.approx(many)


def test_images_of_a_group_are_one():
    """Student's interval of 30 equal groups, each image ten times over."""
    from scipy import stats

    values = normal(np.random.default_rng(1), 30)
    half = stats.t.ppf(0.975, 29) * values.std(ddof=1) / np.sqrt(30)
    ends = bounded_interval(values.repeat(10), np.arange(30).repeat(10), -0.3, -0.3)
    assert ends == pytest.approx((values.mean() - half, values.mean() + half))


def test_it_holds_what_was_not_seen():
    assert bounded_interval(np.array([-0.9, -1.0, -1, -1, -1]), np.arange(5), -0.98, 0.0)[0] == -1
    low, high = bounded_interval(np.full(20, -0.5), np.arange(20), -0.8, 0.0)
    share = unseen_share(20)
    assert low == pytest.approx(-0.5 - share * 0.3) and high == pytest.approx(-0.5 + share * 0.5)
    assert share == pytest.approx(0.117, abs=0.001) and unseen_share(60) < unseen_share(20)
    assert np.isnan(bounded_interval([1.0], [0], 0, 1)).all()
    assert np.isnan(bounded_interval([], [], 0, 1)).all()


def test_an_estimate_of_it_leaves_out_what_is_not_known():
    names = tuple(f"i{i}" for i in range(9))
    sampling = Sampling(names, names, "images", 0)
    values = np.array([-0.2, np.nan, -0.3, -0.1, -0.5, np.nan, -0.4, -0.2, -0.3])
    known = np.isfinite(values)
    found = sampling.bounded(values, -0.8, 0.0)
    assert (found.n, found.value) == (7, values[known].mean())
    assert found.ci == bounded_interval(values[known], np.arange(7), -0.8, 0.0)
    few = sampling.at(np.arange(4)).bounded(values[[0, 2, 3, 4]], -0.8, 0.0)
    assert few.ci is None and few.n == 4
    assert sampling.bounded(np.full(9, np.nan), -1, 0).n == 0


def of_atoms(rare, atom, images, sets):
    """How often intervals hold the mean of numbers that are `atom` but for a share of `rare` ones,
    uniform in [0, 1]: the plain one, and the one that allows for numbers that were not seen."""
    truth = (1 - rare) * atom + rare / 2
    ids, held = tuple(f"{i:03d}" for i in range(images)), []
    for number in range(sets):
        rng = np.random.default_rng([number, images])
        values = np.where(rng.random(images) < rare, rng.random(images), atom)
        sampling = Sampling(ids, ids, "images", number, 400)
        told = sampling.mean(values), sampling.pointed(values, 0.0, 1.0)
        held.append([one.low <= truth <= one.high for one in told])
    return np.mean(held, 0)


@pytest.mark.parametrize("rare", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("atom", [0.0, 0.7, 1.0])
def test_numbers_that_are_nearly_all_the_same(rare, atom):
    plain, mended = of_atoms(rare, atom, 16, 80)
    assert mended >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 80)
    if rare <= 0.1:
        assert plain < 0.85, "where nothing is to be mended, this test shows nothing"


def test_where_numbers_differ_nothing_is_widened():
    values = np.random.default_rng(0).normal(0.5, 0.01, 16)
    ids = tuple(map(str, range(16)))
    sampling = Sampling(ids, ids, "images", 0)
    assert sampling.pointed(values, 0.0, 1.0) == sampling.mean(values)
    assert np.isnan(sampling.pointed(np.full(16, np.nan), 0.0, 1.0).value)
    same = sampling.pointed(np.ones(16), 0.0, 1.0)
    assert same.value == same.high == 1.0 and same.low < 0.9


def test_no_interval_leaves_the_range_of_its_values():
    rng = np.random.default_rng(0)
    for values in (rng.random(8) ** 4, 1 - rng.random(8) ** 4, rng.random(5).round()):
        low, high = bounded_interval(values, np.arange(len(values)), 0.0, 1.0)
        assert 0 <= low <= values.mean() <= high <= 1


def test_the_difference_of_few_members_and_the_rest_holds():
    """Six of sixty images, of a quality that is as good as 1 in nineteen of twenty: what the six
    lack of the rest is nothing in the mean."""
    names, members = tuple(f"{i:02d}" for i in range(60)), np.arange(60) < 6
    held, plain = [], []
    for seed in range(100):
        rng = np.random.default_rng([seed, 4])
        values = np.where(rng.random(60) < 0.95, 1.0, rng.random(60))
        one = Sampling(names, names, "images", seed, 200)
        told = one.difference(values, members, 0.0, 1.0)
        drawn = one.statistic(lambda r, v=values: v[r][members[r]].mean() - v[r][~members[r]].mean()
                              if members[r].any() else np.nan)  # fmt: skip
        assert told.value == pytest.approx(values[:6].mean() - values[6:].mean())
        held.append(told.low <= 0 <= told.high)
        plain.append(drawn.low <= 0 <= drawn.high)
    assert np.mean(held) >= 0.95 and np.mean(plain) < 0.85


def test_the_difference_of_groups_that_hold_both_is_that_of_draws():
    """What a group's members and its others share cancels, which two means do not know."""
    groups = tuple(f"g{i // 2:02d}" for i in range(40))
    own = np.random.default_rng(0).normal(size=20).repeat(2) + np.tile([0.1, 0.0], 20)
    one = Sampling(tuple(map(str, range(40))), groups, "groups", 0)
    told = one.difference(own, np.arange(40) % 2 == 0, -9.0, 9.0)
    assert told.ci == pytest.approx((0.1, 0.1))

"""Images crossed with donors: closed forms, brute force, coverage, and a null of either kind."""

from itertools import combinations

import numpy as np
import pytest

from conceptseg.stats.crossed import Crossed, donors_needed
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import unseen_share

IMAGES, EACH = 24, 8


def crossed(values, first, groups=None, image_groups=None):
    n, m = values.shape
    ids = tuple(f"i{i:03}" for i in range(n))
    sampling = Sampling(ids, tuple(image_groups or ids), "images", (5, 1), 1000)
    return Crossed(values, sampling, tuple(groups or (f"d{j:03}" for j in range(m))), first)


def drawn(rng, effect=0.0, donors=0.1, images=0.3, together=EACH, pool=60):
    """Values of images that each try `together` donors of either kind out of a common pool.

    Donors differ from each other, images differ in their level, and each image has an effect of
    its own around the true one.
    """
    first = np.arange(pool) < pool // 2
    level, own = images * rng.normal(size=IMAGES), effect + 0.1 * rng.normal(size=IMAGES)
    donor = donors * rng.normal(size=pool)
    values = np.full((IMAGES, pool), np.nan)
    for i in range(IMAGES):
        for kind in (True, False):
            at = rng.choice(np.flatnonzero(first == kind), together, replace=False)
            noise = 0.05 * rng.normal(size=together)
            values[i, at] = level[i] + donor[at] + noise + (own[i] if kind else 0.0)
    return crossed(values, first)


def test_of_a_full_table_it_is_the_difference_of_means():
    rng = np.random.default_rng(0)
    values, first = rng.normal(size=(7, 10)), np.arange(10) < 4
    one = crossed(values, first)
    expected = values[:, :4].mean(1) - values[:, 4:].mean(1)
    np.testing.assert_allclose(one.differences, expected)
    assert one.estimate().value == pytest.approx(expected.mean())
    assert one.donors == (4, 6)


def test_what_was_not_tried_does_not_count():
    values = np.array([[1.0, np.nan, 0.0], [0.5, 0.7, np.nan], [0.9, 0.9, 0.4]])
    one = crossed(values, np.array([True, True, False]))
    np.testing.assert_allclose(one.differences, [1.0, np.nan, 0.5])
    assert one.estimate().value == pytest.approx(0.75) and one.estimate().n == 2


def test_the_donors_p_is_the_share_of_all_ways_to_give_the_kinds_out():
    rng = np.random.default_rng(3)
    values, first = rng.normal(size=(6, 9)), np.arange(9) < 4
    values[:, first] += 0.4
    level = (values[:, first].mean(1) + values[:, ~first].mean(1)) / 2
    means = (values - level[:, None]).mean(0)

    def gap(chosen):
        inside = np.isin(np.arange(9), chosen)
        return abs(means[inside].mean() - means[~inside].mean())

    ways = list(combinations(range(9), 4))
    expected = np.mean([gap(way) >= gap(range(4)) - 1e-12 for way in ways])
    p, least = crossed(values, first).donors_p(0)
    assert p == pytest.approx(expected) and least == pytest.approx(1 / len(ways))


def test_donors_of_one_group_count_once():
    values = np.zeros((8, 12))
    values[:, :6] = 1.0
    first = np.arange(12) < 6
    alone = crossed(values, first)
    patients = crossed(values, first, groups=["a"] * 3 + ["b"] * 3 + ["c"] * 3 + ["d"] * 3)
    assert patients.donors == (2, 2) and alone.donors == (6, 6)
    assert patients.donors_p(0)[0] == pytest.approx(2 / 6) and alone.donors_p(0)[0] < 0.01


def test_one_kind_alone_tells_nothing():
    one = crossed(np.ones((6, 4)), np.ones(4, bool))
    assert one.donors_p(0) == (1.0, 1.0)
    assert one.estimate().n == 0 and one.estimate().ci is None


@pytest.mark.parametrize(("donors", "together"), [(0.0, EACH), (0.1, EACH), (0.2, 5)])
def test_intervals_hold_over_new_images_and_donors(donors, together):
    rng = np.random.default_rng(7)
    sets = 150
    ends = [drawn(rng, 0.3, donors, together=together).estimate().ci for _ in range(sets)]
    held = np.mean([low <= 0.3 <= high for low, high in ends])
    assert held >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / sets)


def all_found(first, lost=(), rng=None, images=40, each=8, pool=80):
    """Values 1, each image with `each` donors of either kind; 0 for a share `lost` of the pairs of
    each kind."""
    values, kinds = np.full((images, pool), np.nan), np.arange(pool) < first
    for i in range(images):
        for k, kind in enumerate((kinds, ~kinds)):
            at = np.flatnonzero(kind)[(each * i + np.arange(each)) % int(kind.sum())]
            values[i, at] = 1.0 if rng is None else rng.random(each) >= lost[k]
    return crossed(values, kinds)


def test_of_equal_values_the_interval_is_what_pairs_may_do_that_were_not_met():
    one = all_found(40)
    found, share = one.bounded(0, 1), unseen_share(40 * 8)
    assert found.value == 0 and one.estimate().ci == (0.0, 0.0)
    assert found.ci == pytest.approx((-share, share)) and 0.005 < share < 0.01
    # Of values at 0.5 either kind may go either way, by half as much.
    half = crossed(one.values / 2, one.first).bounded(0, 1)
    assert half.ci == pytest.approx((-share / 2, share / 2))
    # Images of four patients with donors of two are few pairs, and so are values of few images.
    patients = crossed(
        one.values, one.first, [f"p{j % 2}" for j in range(80)], [f"q{i % 8}" for i in range(40)]
    )
    assert patients.bounded(0, 1).high == pytest.approx(unseen_share(8 * 2))


def test_an_interval_within_which_it_lies_anyway_is_as_it_was():
    rng = np.random.default_rng(2)
    wide = all_found(40, (0.2, 0.4), rng)
    assert wide.bounded(0, 1) == wide.estimate()
    gone = crossed(np.where(wide.first, 1.0, 0.0) * np.ones((40, 1)), wide.first).bounded(0, 1)
    assert gone.value == gone.high == 1 and 0.99 < gone.low < 1


def test_intervals_hold_where_hardly_a_pair_is_lost():
    rng, sets, lost = np.random.default_rng(4), 120, (0.003, 0.001)
    held = [0, 0]
    for _ in range(sets):
        one = all_found(40, lost, rng)
        for which, found in enumerate((one.estimate(), one.bounded(0, 1))):
            held[which] += found.low <= lost[1] - lost[0] <= found.high
    assert held[0] < 0.8 * sets
    assert held[1] / sets >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / sets)


def test_donors_that_differ_are_no_evidence_of_their_kind():
    """Images alone would find it: each meets much the same donors."""
    rng = np.random.default_rng(11)
    sets = 200
    found = [drawn(rng, 0.0, donors=0.3, pool=20).donors_p(0)[0] <= 0.05 for _ in range(sets)]
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
    assert drawn(rng, 0.5, donors=0.1).donors_p(0)[0] < 0.001


def test_how_many_donors_a_level_needs():
    assert donors_needed(0.05) == 4 and donors_needed(0.05 / 10) == 6

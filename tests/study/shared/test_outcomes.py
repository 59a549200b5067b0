"""Outcomes of objects: dealt in all ways, and read off maps."""

from itertools import combinations

import numpy as np
import pytest

from conceptseg.study.shared.outcomes import dealt, right_part, wrongness


@pytest.mark.parametrize(
    ("n", "ours", "wrong", "both"), [(9, 4, 3, 3), (10, 5, 2, 0), (8, 3, 4, 2)]
)
def test_by_all_ways_to_deal_them(n, ours, wrong, both):
    """As often as a way of dealing is no likelier than what was found, by counting them all."""
    own, bad = np.arange(n) < ours, np.zeros(n, int)
    bad[:both] = 1
    bad[ours : ours + wrong - both] = 1
    hits = np.array([sum(i < ours for i in one) for one in combinations(range(n), wrong)])
    chance = {k: float((hits == k).mean()) for k in set(hits.tolist())}
    expected = sum(c for c in chance.values() if c <= chance[both] * (1 + 1e-9))
    least = min(sum(c for c in chance.values() if c <= chance[k] * (1 + 1e-9)) for k in chance)
    assert dealt(own, bad) == pytest.approx((expected, least))


def test_an_object_is_right_by_its_labelled_pixels():
    mask = np.array([[True, True, True, True, False]])
    predicted = np.array([[2, 2, 2, 2, 0]])
    assert right_part(mask, predicted, np.array([[2, 2, 1, -1, 0]])) == pytest.approx(2 / 3)
    assert np.isnan(right_part(mask, predicted, np.array([[2, -1, -1, -1, 2]])))


def test_what_is_wrong_is_below_the_bar_and_known():
    assert wrongness(np.array([0.5, 0.49, np.nan, 1.0]), 0.5).tolist() == [0, 1, -1, 0]

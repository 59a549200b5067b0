"""Outcomes of objects: dealt in all ways, counted in pairs, read off maps."""

from itertools import combinations

import numpy as np
import pytest

from conceptseg.stats.ranks import auc
from conceptseg.study.shared.outcomes import areas, dealt, right_part


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


def test_areas_count_pairs_of_a_class():
    rng = np.random.default_rng(1)
    score, wrong = rng.integers(0, 6, 40).astype(float), rng.integers(0, 2, 40)
    strata, weights = rng.integers(0, 3, 40), rng.integers(0, 3, (5, 40))
    got = areas(score, wrong, strata, weights)
    for line, one in zip(weights, got, strict=True):
        above = pairs = 0.0
        for c in range(3):
            rows = np.repeat(np.arange(40), line)
            rows = rows[strata[rows] == c]
            bad, good = score[rows[wrong[rows] == 1]], score[rows[wrong[rows] == 0]]
            if len(bad) and len(good):
                above += auc(bad, good) * len(bad) * len(good)
                pairs += len(bad) * len(good)
        assert one == pytest.approx(above / pairs, abs=1e-12)


def test_an_object_is_right_by_its_labelled_pixels():
    mask = np.array([[True, True, True, True, False]])
    predicted = np.array([[2, 2, 2, 2, 0]])
    assert right_part(mask, predicted, np.array([[2, 2, 1, -1, 0]])) == pytest.approx(2 / 3)
    assert np.isnan(right_part(mask, predicted, np.array([[2, -1, -1, -1, 2]])))

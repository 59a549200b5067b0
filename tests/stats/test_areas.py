"""Areas against counted pairs, and how often their intervals hold the truth."""

import numpy as np
import pytest
from scipy.stats import norm

from conceptseg.stats.areas import area, areas, sides, told_apart, told_better
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.ranks import auc


def images(n, seed, draws=200):
    names = tuple(f"{i:03d}" for i in range(n))
    return Sampling(names, names, "images", seed, draws)


def test_areas_count_pairs_of_a_stratum():
    rng = np.random.default_rng(1)
    score, members = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.5
    strata, weights = rng.integers(0, 3, 40), rng.integers(0, 3, (5, 40))
    for line, one in zip(weights, areas(score, members, strata, weights), strict=True):
        above = pairs = 0.0
        for c in range(3):
            rows = np.repeat(np.arange(40), line)
            rows = rows[strata[rows] == c]
            own, other = score[rows[members[rows]]], score[rows[~members[rows]]]
            if len(own) and len(other):
                above += auc(own, other) * len(own) * len(other)
                pairs += len(own) * len(other)
        assert one == pytest.approx(above / pairs, abs=1e-12)


def test_the_area_is_the_mean_of_either_kinds_shares():
    rng = np.random.default_rng(2)
    score, members = rng.integers(0, 9, 50).astype(float), rng.random(50) < 0.3
    strata = np.r_[rng.integers(0, 3, 49), 3]  # the last stands alone: it has no pair
    right, others = sides(score, members, strata)
    assert np.isnan(right[-1]) and others[-1] == 0
    for kind in (members, ~members):
        own = kind & (others > 0)
        mean = np.average(right[own], weights=others[own])
        assert mean == pytest.approx(area(score, members, strata))


def test_nothing_is_told_of_one_kind_alone():
    one = told_apart(images(6, 0), np.arange(6.0), np.ones(6, bool))
    assert np.isnan(one.value) and one.ci is None
    score, members, strata = np.arange(6.0), np.zeros(6, bool), np.zeros(6, int)
    assert np.isnan(told_better(images(6, 0), score, -score, members, strata).value)


def test_the_interval_of_an_area_near_one_holds_it():
    """One thing in thirty of its kind is not seen at all: the area is 1 - 1/60."""
    rng, held, n = np.random.default_rng(0), [], 40
    for seed in range(100):
        members = np.arange(n) < n // 2
        seen = members & (rng.random(n) >= 1 / 30)
        scores = np.where(members, np.where(seen, 9.0, 0.0), 0.0) + rng.random(n)
        sampling = images(n, seed)
        one = told_apart(sampling, scores, members)
        drawn = sampling.statistic(lambda r, s=scores, t=members: auc(s[r][t[r]], s[r][~t[r]]))
        assert one.value == pytest.approx(drawn.value)
        held.append([each.low <= 1 - 1 / 60 <= each.high for each in (one, drawn)])
    new, plain = np.mean(held, 0)
    assert new >= 0.95 and plain < 0.75


def normals(rng, n, wrong, *apart):
    """Members, strata, and for each distance scores whose area it makes Phi(distance / sqrt(2))."""
    members, strata = np.arange(n) < wrong, rng.integers(0, 3, n)
    own = rng.normal(size=n)
    return members, strata, *(0.9 * own + 0.44 * rng.normal(size=n) + d * members for d in apart)


def of_draws(sampling, scores, members, strata):
    return sampling.of_draws(
        area(scores, members, strata), areas(scores, members, strata, sampling.weights())
    )


def test_the_interval_of_few_members_holds_their_area():
    """Of 60 things of three classes six are wrong, as objects that a network misses are: draws of
    all sixty cover an area of 0.96 in three cases of four."""
    rng, held, truth = np.random.default_rng(1), [], norm.cdf(2.5 / np.sqrt(2))
    for seed in range(100):
        members, strata, scores = normals(rng, 60, 6, 2.5)
        sampling = images(60, seed)
        each = (
            told_apart(sampling, scores, members, strata),
            of_draws(sampling, scores, members, strata),
        )
        held.append([one.low <= truth <= one.high for one in each])
    new, plain = np.mean(held, 0)
    assert new >= 0.95 and plain < 0.85


def test_the_interval_of_a_difference_of_areas_holds_it():
    """Of few members, by scores that are alike: areas of 0.96 and 0.99."""
    rng, held = np.random.default_rng(3), []
    truth = norm.cdf(2.5 / np.sqrt(2)) - norm.cdf(3.3 / np.sqrt(2))
    for seed in range(100):
        members, strata, one, other = normals(rng, 60, 6, 2.5, 3.3)
        sampling = images(60, seed)
        whole = told_better(sampling, one, other, members, strata)
        weights = sampling.weights()
        drawn = areas(one, members, strata, weights) - areas(other, members, strata, weights)
        plain = sampling.of_draws(whole.value, drawn)
        held.append([each.low <= truth <= each.high for each in (whole, plain)])
    new, plain = np.mean(held, 0)
    assert new >= 0.9 and plain < new - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_of_usual_scores_the_interval_of_an_area_covers_about_as_promised(mean):
    rng, held, n = np.random.default_rng(1), [], 60
    for seed in range(150):
        members = np.arange(n) < n // 2
        one = told_apart(images(n, seed), rng.normal(size=n) + mean * members, members)
        held.append(one.low <= norm.cdf(mean / np.sqrt(2)) <= one.high)
    assert 0.91 <= np.mean(held) <= 0.98

"""Means, ranks and differences against loops and closed forms."""

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from conceptseg.stats.p_values import sign_flip_ps
from conceptseg.study.saliency.standing import MASK_COPY, differences, means, overall, ranks
from tests.study.saliency.made import judged, sampling

METHODS = ("a", "b", MASK_COPY)
GROUPS = [f"g{i}" for i in range(8)]


def test_ranks_by_counting():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, size=(20, 5)).astype(float)
    values[3, 2] = np.nan
    for better, sign in (("higher", -1), ("lower", 1)):
        ranked = ranks(values, better)
        for case in range(20):
            for m in range(5):
                own = sign * values[case]
                below = sum(v < own[m] for v in own)
                ties = sum(v == own[m] for v in own)
                expected = np.nan if np.isnan(own[m]) else below + (ties + 1) / 2
                assert ranked[case, m] == pytest.approx(expected, nan_ok=True)


def test_the_overall_rank_is_the_mean_over_metrics_that_judge():
    values = np.zeros((2, 3, 4))
    values[:, :, 0] = [3, 2, 1]
    values[:, :, 1] = [1, 3, 2]
    values[:, :, 2] = [9, 8, 7]
    values[:, :, 3] = [1, 2, 3]
    metrics = ("insertion", "deletion", "context_share", "pointing_game")
    assert np.allclose(overall(judged(values, metrics, METHODS)), [[1.0, 2.5, 2.5]] * 2)


def test_where_nothing_judges_there_is_no_rank():
    assert np.isnan(overall(judged(np.zeros((2, 3, 1)), ("context_share",), METHODS))).all()


def test_a_mean_leaves_out_what_is_undefined():
    values = [[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan], [5.0, np.nan], [4, 1], [2, np.nan]]
    one = judged(values, ("insertion",), ("a", "b"))
    some, single = means(one, sampling(GROUPS[:6]))
    assert some.estimate.value == 3 and some.cases == some.estimate.n == 5
    assert some.estimate.low <= 3 <= some.estimate.high
    assert single.cases == 1 and single.estimate.ci is None


def test_no_interval_is_computed_from_four_groups():
    """Rule (a): the means of any number of cases count groups."""
    one = judged(np.random.default_rng(0).normal(size=(8, 3)), ("deletion",), METHODS)
    four = sampling([f"g{i % 4}" for i in range(8)])
    five = sampling([f"g{i % 5}" for i in range(8)])
    assert all(mean.estimate.ci is None and mean.cases == 8 for mean in means(one, four))
    assert all(mean.estimate.ci for mean in means(one, five))
    assert all(d.estimate.ci is None for d in differences(one, "deletion", MASK_COPY, four, 0))


def test_differences_are_paired_and_positive_where_better():
    rng = np.random.default_rng(1)
    groups = [f"g{i:02d}" for i in range(12)]
    base = rng.normal(0, 10, 12)
    values = np.stack([base - 1 + rng.normal(0, 0.1, 12), base + 2, base], axis=1)
    one = judged(values, ("deletion",), METHODS)
    a, b = differences(one, "deletion", MASK_COPY, sampling(groups), 0)
    assert (a.method, b.method) == ("a", "b")
    assert a.estimate.value == pytest.approx(float((base - values[:, 0]).mean()))
    assert a.estimate.above(0) and b.estimate.value == pytest.approx(-2) and b.estimate.below(0)
    (p,) = sign_flip_ps([base - values[:, 0]], seed=0)
    assert a.test.p == p and a.test.adjusted == pytest.approx(2 * p)


def test_without_the_reference_there_is_nothing_to_compare_with():
    one = judged(np.zeros((8, 3, 1)), ("deletion",), ("a", "b", "c"))
    assert differences(one, "deletion", MASK_COPY, sampling(GROUPS), 0) == []


def test_the_smallest_p_and_difference_that_could_be_detected():
    values = np.random.default_rng(0).normal(size=(12, 3))
    one = judged(values, ("cbl",), ("a", "b", "c"), chance=np.zeros(12))
    tested = differences(one, "cbl", "chance", sampling([f"g{i:02d}" for i in range(12)]), 0)
    assert [d.test.least for d in tested] == pytest.approx([3 * 2 / 2**12] * 3)
    bar = student.ppf(1 - 0.05 / 3 / 2, 11)
    for m, each in enumerate(tested):
        centre = each.test.detectable * np.sqrt(12) / values[:, m].std(ddof=1)
        assert nct.sf(bar, 11, centre) == pytest.approx(0.8)


def test_eight_groups_can_show_that_one_of_many_methods_is_better():
    """Rule (f): Holm's correction over 23 methods would need p of 2/256 / 23."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(8, 24))
    values[:, -1] = 0
    values[:, 0] = 5 + 0.1 * rng.normal(size=8)
    one = judged(values, ("insertion",), [*(f"m{i}" for i in range(23)), MASK_COPY])
    first, *others = differences(one, "insertion", MASK_COPY, sampling(GROUPS), 0)
    assert 23 * 2 / 2**8 > 0.05
    assert first.test.passed and first.test.by == "joint flips"
    assert not any(each.test.passed for each in others)


def test_what_could_never_pass_is_not_tested():
    """Rule (f): of five groups the smallest p is 2/32."""
    values = np.stack([np.full(5, 9.0), np.zeros(5)], 1)
    one = judged(values, ("insertion",), ("a", MASK_COPY))
    (only,) = differences(one, "insertion", MASK_COPY, sampling(GROUPS[:5]), 0)
    assert not only.test.testable and np.isnan(only.test.p) and only.test.least == 2 / 32

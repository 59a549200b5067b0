"""Precision, recall and average precision against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from conceptseg.study.bottleneck import flag


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_that_of_scikit_learn(ties):
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, 80).astype(float) if ties else rng.normal(size=80)
    failed = rng.random(80) < 0.2
    expected = average_precision_score(failed, -score)
    assert flag.average_precision(score, failed) == pytest.approx(expected, abs=1e-12)


def test_a_budget_is_spent_on_the_lowest_scores():
    score = np.array([0.9, 0.1, 0.5, 0.2])
    failed = np.array([False, True, True, False])
    assert flag.precision(score, failed, 0.25) == 1.0
    assert flag.precision(score, failed, 0.5) == 0.5
    assert flag.recall(score, failed, 0.75) == 1.0
    assert flag.found_by(score, failed).tolist() == [0, 1, 1, 2, 2]


def test_equal_scores_count_as_drawn_at_random():
    score, failed = np.zeros(10), np.arange(10) < 3
    assert flag.precision(score, failed, 0.1) == pytest.approx(0.3)
    assert flag.recall(score, failed, 0.5) == pytest.approx(0.5)


def test_failures_are_below_a_limit_or_the_worst_tenth():
    quality = np.arange(20) / 20
    assert flag.failures(quality, 0.5)[0].sum() == 10
    failed, limit = flag.failures(quality, None)
    assert failed.sum() == 2 and limit == pytest.approx(0.095)


def test_no_failure_has_no_recall():
    assert np.isnan(flag.recall(np.arange(4.0), np.zeros(4, bool), 0.5))
    assert np.isnan(flag.average_precision(np.arange(4.0), np.zeros(4, bool)))

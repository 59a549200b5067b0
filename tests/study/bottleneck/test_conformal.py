"""Intervals against the definition by loops, and their coverage over many draws."""

import math

import numpy as np
import pytest

from conceptseg.study.bottleneck import conformal
from conceptseg.study.bottleneck.conformal import Calibration


def by_definition(prediction, residual, fold, alpha):
    """Barber et al. 2021, eq. 8, for one new row and groups of one."""
    n = len(residual)
    up = sorted(prediction[f] + r for f, r in zip(fold, residual, strict=True))
    down = sorted(prediction[f] - r for f, r in zip(fold, residual, strict=True))
    rank = math.ceil((1 - alpha) * (n + 1) - 1e-9)
    high = up[rank - 1] if rank <= n else math.inf
    low = down[math.floor(alpha * (n + 1) + 1e-9) - 1] if alpha * (n + 1) >= 1 else -math.inf
    return low, high


@pytest.mark.parametrize("n", [5, 9, 20, 57])
@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_ends_are_those_of_the_definition(n, alpha):
    rng = np.random.default_rng(n)
    fold, residual = rng.integers(0, 3, n), np.abs(rng.normal(size=n))
    new = rng.normal(size=(4, 3))
    kept = Calibration(residual, fold, np.zeros(n, int), np.arange(n))
    low, high = conformal.interval(new, np.zeros(4, int), kept, alpha)
    for row in range(4):
        expected = by_definition(new[row], residual, fold, alpha)
        np.testing.assert_allclose((low[row], high[row]), expected, rtol=1e-12)


def test_intervals_cover_ninety_percent_of_new_rows():
    """Ridge in five folds, 100 rows, noise of two scales: over 200 draws, 90 +- 2 %."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        x = rng.normal(size=(140, 3))
        y = x @ [1.0, -2.0, 0.5] + rng.standard_t(5, size=140)
        fit, new = slice(0, 100), slice(100, 140)
        fold = np.arange(100) % 5
        models = [np.linalg.lstsq(x[fit][fold != k], y[fit][fold != k], rcond=None)[0]
                  for k in range(5)]  # fmt: skip
        predicted = np.stack([x @ model for model in models], 1)
        residual = np.abs(y[:100] - predicted[np.arange(100), fold])
        kept = Calibration(residual, fold, np.zeros(100, int), np.arange(100))
        low, high = conformal.interval(predicted[new], np.zeros(40, int), kept, 0.1)
        covered.append(((y[new] >= low) & (y[new] <= high)).mean())
    assert 0.88 <= np.mean(covered) <= 0.92


def test_groups_that_move_together_are_still_covered_in_a_new_group():
    """Rows of a group share an error; counted one by one they would promise too much."""
    rng = np.random.default_rng(2)
    by_group, by_row = [], []
    for _ in range(300):
        size = rng.integers(1, 12, 31)
        group = np.repeat(np.arange(31), size)
        y = 3 * rng.normal(size=31)[group] * (size[group] < 4) + 0.3 * rng.normal(size=len(group))
        old, new = group < 30, group == 30
        zero = np.zeros((new.sum(), 1))
        for found, counted in ((by_group, group[old]), (by_row, np.arange(old.sum()))):
            nothing = np.zeros(old.sum(), int)
            kept = Calibration(np.abs(y[old]), nothing, nothing, counted)
            low, high = conformal.interval(zero, np.zeros(len(zero), int), kept, 0.1)
            found.append(((y[new] >= low) & (y[new] <= high)).mean())
    assert np.mean(by_group) >= 0.88
    assert np.mean(by_row) < np.mean(by_group) - 0.03


def test_a_small_slice_is_calibrated_on_all_rows():
    residual = np.concatenate([np.full(30, 1.0), np.full(3, 9.0)])
    part = np.array([0] * 30 + [1] * 3)
    kept = Calibration(residual, np.zeros(33, int), part, np.arange(33))
    low, high = conformal.interval(np.zeros((2, 1)), np.array([0, 1]), kept, 0.1)
    assert kept.usable(0.1) == [0]
    np.testing.assert_allclose(high, [1.0, 9.0])
    np.testing.assert_allclose(low, [-1.0, -9.0])


def test_too_few_rows_promise_nothing():
    kept = Calibration(np.ones(4), np.zeros(4, int), np.zeros(4, int), np.arange(4))
    low, high = conformal.interval(np.zeros((1, 1)), np.zeros(1, int), kept, 0.1)
    assert np.isinf(low[0]) and np.isinf(high[0])
    assert not conformal.enough(8, 0.1) and conformal.enough(9, 0.1)

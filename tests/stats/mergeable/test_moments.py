import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.stats.mergeable.moments import Moments


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 1000))
def test_of_any_parts_by_numpy(sizes, seed):
    rows = np.random.default_rng(seed).normal(3, 2, size=(sum(sizes), 4))
    total = Moments.empty(4)
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        total = total.merge(Moments.of(part))
    assert total.count == len(rows)
    if len(rows):
        assert np.allclose(total.mean, rows.mean(0), rtol=1e-12)
        assert np.allclose(total.variance, rows.var(0), rtol=1e-10, atol=1e-14)
    else:
        assert (total.mean == 0).all() and (total.variance == 0).all()


def test_no_digits_are_lost_far_from_zero():
    """Sums of squares would: at 1e9 their difference has no correct digit."""
    rows = 1e9 + np.random.default_rng(0).normal(size=(1000, 2))
    total = Moments.empty(2)
    for part in np.split(rows, 100):
        total = total.merge(Moments.of(part))
    assert np.allclose(total.variance, rows.var(0), rtol=1e-6)
    naive = (rows**2).mean(0) - rows.mean(0) ** 2
    assert not np.allclose(naive, rows.var(0), rtol=1e-2)


def test_float32_rows_are_summed_in_float64():
    rows = np.full((100_000, 1), 0.1, dtype=np.float32)
    assert Moments.of(rows).mean[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)

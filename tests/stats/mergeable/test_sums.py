"""Sums by name."""

import numpy as np

from conceptseg.stats.mergeable.sums import Sums


def test_any_order_gives_the_sum_by_name():
    rng = np.random.default_rng(0)
    parts = [{"a": rng.integers(0, 9, (2, 3))} | ({"b": rng.random(4)} if i % 2 else {})
             for i in range(6)]  # fmt: skip
    for order in (range(6), [3, 0, 5, 1, 4, 2]):
        found = Sums.empty()
        for i in order:
            found = found.merge(Sums(parts[i]))
        assert (found.values["a"] == sum(part["a"] for part in parts)).all()
        expected = sum(part["b"] for part in parts if "b" in part)
        np.testing.assert_allclose(found.values["b"], expected)
    again = Sums.from_arrays(found.to_arrays())
    assert all((again.values[key] == found.values[key]).all() for key in found.values)
    assert Sums.from_arrays(Sums.empty().to_arrays()) == Sums.empty()

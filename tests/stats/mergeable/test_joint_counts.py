"""Joint counts against loops over pixels."""

import numpy as np

from conceptseg.stats.mergeable.joint_counts import JointCounts


def test_counts_are_those_of_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    bins, slots = rng.integers(0, 4, (3, 50)), rng.integers(0, 5, (2, 50))
    expected = np.zeros((3, 4, 5), np.int64)
    for unit in range(3):
        for pixel in range(50):
            for row in slots:
                expected[unit, bins[unit, pixel], row[pixel]] += 1
    found = JointCounts.of(bins, slots, 4, 5)
    np.testing.assert_array_equal(found.counts, expected)
    assert found.counts.dtype == np.int64


def test_pixels_in_two_parts_are_all_pixels():
    rng = np.random.default_rng(1)
    bins, slots = rng.integers(0, 4, (3, 50)), rng.integers(0, 5, (2, 50))
    parts = [JointCounts.of(bins[:, s], slots[:, s], 4, 5) for s in (slice(20), slice(20, 50))]
    whole = JointCounts.of(bins, slots, 4, 5)
    np.testing.assert_array_equal(parts[0].merge(parts[1]).counts, whole.counts)
    assert JointCounts.empty().merge(JointCounts.empty()).counts is None

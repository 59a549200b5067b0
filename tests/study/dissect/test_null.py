"""The published rules on which dissection's null looks, by a second derivation."""

from collections import Counter
from math import log

import numpy as np
import pytest

from conceptseg.study.dissect.null import edge_information


def by_counting(first, second, bins):
    """Mutual information over the mean entropy, from dictionaries of cells."""

    def cell(values):
        low, high = min(values), max(values)
        return [min(int((v - low) / (high - low) * bins), bins - 1) for v in values]

    def entropy(things):
        return -sum(c / len(things) * log(c / len(things)) for c in Counter(things).values())

    one, other = cell(first), cell(second)
    both = list(zip(one, other, strict=True))
    told = entropy(one) + entropy(other) - entropy(both)
    return 2 * told / (entropy(one) + entropy(other))


@pytest.mark.parametrize("n", [10, 40, 300])
def test_information_is_counted_by_hand(n):
    first, second = np.random.default_rng(n).normal(size=(2, n))
    expected = by_counting(first.tolist(), second.tolist(), 100)
    assert edge_information(first, second) == pytest.approx(expected, abs=1e-9)


def test_ten_images_tell_everything_and_two_dead_units_are_one():
    rng = np.random.default_rng(0)
    few, many = (
        np.mean([edge_information(*rng.normal(size=(2, n))) for _ in range(50)]) for n in (10, 5000)
    )
    assert few > 0.9 and many < 0.25
    assert edge_information(np.zeros(10), np.zeros(10)) == 1.0

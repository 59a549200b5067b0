"""The samples of largest value against a sort of all of them."""

import numpy as np

from conceptseg.stats.mergeable.top_samples import TopSamples


def brute(values, ids, size):
    """Per row, (id, value) of the largest, ties by id."""
    rows = []
    for row in values:
        pairs = [(-v, name) for v, name in zip(row, ids, strict=True) if not np.isnan(v)]
        rows.append([(name, -v) for v, name in sorted(pairs)[:size]])
    return rows


def test_any_cut_gives_what_a_sort_gives():
    rng = np.random.default_rng(0)
    ids = [f"s{n:02d}" for n in rng.permutation(30)]
    values = rng.integers(0, 6, (5, 30)).astype(np.float32)  # many ties
    values[rng.random((5, 30)) < 0.3] = np.nan
    values[4] = np.nan
    expected = brute(values, ids, 4)
    for cuts in ([0, 30], [0, 1, 2, 30], [0, 10, 11, 25, 30]):
        parts = [
            TopSamples.of(ids[a:b], values[:, a:b], 4)
            for a, b in zip(cuts[:-1], cuts[1:], strict=True)
        ]
        for order in (parts, parts[::-1]):
            found = TopSamples.empty(5, 4)
            for part in order:
                found = found.merge(part)
            assert [found.row(n) for n in range(5)] == expected


def test_only_samples_that_are_held_are_named():
    values = np.arange(20, dtype=np.float32)[None]
    found = TopSamples.of([f"s{n:02d}" for n in range(20)], values, 2)
    assert found.ids == ("s18", "s19") and found.row(0) == [("s19", 19.0), ("s18", 18.0)]


def test_arrays_hold_all_of_it():
    found = TopSamples.of(["b", "a"], np.array([[1.0, np.nan]]), 3)
    again = TopSamples.from_arrays(found.to_arrays())
    assert again.ids == ("b",) and again.size == 3 and again.row(0) == [("b", 1.0)]
    assert np.array_equal(again.index, found.index)
    assert np.array_equal(again.values, found.values)

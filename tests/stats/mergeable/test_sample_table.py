import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.stats.mergeable.sample_table import SampleTable

SAMPLES = st.lists(
    st.tuples(st.integers(0, 50), st.frozensets(st.integers(0, 3))), min_size=1, max_size=12
)
"""Priority (with ties) and classes of each sample; its id is its place."""


def table(samples, capacity):
    total = SampleTable.empty(capacity)
    for index, (priority, classes) in enumerate(samples):
        rows = {"place": np.array([index])}
        one = SampleTable.of(
            f"s{index:02d}", rows, priority=priority, classes=classes, capacity=capacity
        )
        total = total.merge(one)
    return total


@settings(max_examples=100, deadline=None)
@given(SAMPLES, st.integers(1, 4))
def test_keeps_the_smallest_priorities_of_each_class(samples, capacity):
    """By brute force: for each class the k smallest (priority, id) of all its samples."""
    expected = set()
    for c in range(4):
        holders = sorted(
            (priority, f"s{index:02d}")
            for index, (priority, classes) in enumerate(samples)
            if c in classes
        )
        expected |= {name for _, name in holders[:capacity]}
    assert set(table(samples, capacity).ids) == expected


@given(SAMPLES)
def test_keeps_everything_without_a_capacity(samples):
    assert len(table(samples, None).ids) == len(samples)


def test_a_sample_without_a_class_is_not_kept_even_alone():
    one = SampleTable.of("a", {"x": np.zeros(1)}, capacity=3)
    assert one.ids == one.merge(SampleTable.empty(3)).ids == []


def test_columns_and_owners_in_the_order_of_ids():
    rows = {"b": np.array([[1.0, 2.0]]), "c": np.zeros((0, 2)), "a": np.array([[3, 4], [5, 6.0]])}
    total = SampleTable.empty()
    for name, values in rows.items():
        total = total.merge(SampleTable.of(name, {"x": values}))
    assert total.ids == ["a", "b", "c"]
    assert total.column("x").tolist() == [[3, 4], [5, 6], [1, 2]]
    assert total.owner("x").tolist() == [0, 0, 1]


def test_the_same_sample_twice_counts_once():
    one = SampleTable.of("a", {"x": np.ones(1)})
    assert one.merge(one).column("x").tolist() == [1]


@pytest.mark.parametrize("name", ["plain", "Käse/ü", "a b,c", '"quoted"', "日本"])
def test_ids_and_priorities_survive_arrays(name):
    """Priorities have 256 bits, which no float holds; ids are any text."""
    priority = 2**255 + 1
    one = SampleTable.of(name, {"x": np.ones((1, 2), np.float16)}, priority=priority, classes=[3])
    arrays = one.to_arrays()
    again = SampleTable.from_arrays(arrays)
    assert again.priority == {name: priority} and again.classes == {name: frozenset([3])}
    assert again.tables[name]["x"].dtype == np.float16
    assert json.loads(bytes(arrays["head"]))["ids"] == [name]


def test_rows_of_unlike_lengths_survive_arrays():
    total = SampleTable.empty()
    for index, rows in enumerate((2, 0, 3)):
        tables = {"x": np.full((rows, 2, 2), index), "y": np.arange(rows).astype(np.uint8)}
        total = total.merge(SampleTable.of(f"s{index}", tables))
    again = SampleTable.from_arrays(total.to_arrays())
    for name in total.ids:
        for key in ("x", "y"):
            assert np.array_equal(again.tables[name][key], total.tables[name][key])
            assert again.tables[name][key].dtype == total.tables[name][key].dtype


def test_arrays_of_every_shape_come_back_exactly():
    """Images of different sizes share no axis; some samples have no rows at all."""
    shapes = {"a": (2, 3, 4), "b": (2, 5, 1), "c": (2, 0, 7)}
    total = SampleTable.empty()
    for name, shape in shapes.items():
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        total = total.merge(SampleTable.of(name, {"x": values, "n": np.arange(shape[1])}))
    again = SampleTable.from_arrays(total.to_arrays())
    for name in shapes:
        for key in ("x", "n"):
            before, after = total.tables[name][key], again.tables[name][key]
            assert before.dtype == after.dtype and before.shape == after.shape
            assert (before == after).all()


@pytest.mark.parametrize("capacity", [None, 1])
def test_a_batch_is_its_samples_one_by_one(capacity):
    ids, rows, chosen = ("a", "b"), np.arange(6).reshape(2, 3), [(0,), (0, 1)]
    keys = {"priority": [2, 1], "classes": chosen, "capacity": capacity}
    whole = SampleTable.batch(ids, {"x": rows}, **keys)
    assert whole.ids == (["a", "b"] if capacity is None else ["b"])
    for i, name in enumerate(ids):
        if name in whole.ids:
            np.testing.assert_array_equal(whole.tables[name]["x"], rows[i : i + 1])
            assert whole.classes[name] == set(chosen[i])
    assert SampleTable.batch(ids, {}).ids == ["a", "b"]

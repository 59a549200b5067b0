"""What every statistic promises: merging is a commutative monoid, and arrays hold all of it.

Each file of `conceptseg/stats` is found here by itself. One that is built from the values of one
sample at a time needs a line in `OF_SAMPLE`, without which its tests fail.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg import catalogue
from conceptseg.data.draw import sample_priority
from conceptseg.stats.contract import Statistic

WIDTH = 3


def _moments(cls: type, sample: int, rng: np.random.Generator) -> Any:
    return cls.of(100 + rng.normal(size=(int(rng.integers(0, 4)), WIDTH)))


def _sample_table(cls: type, sample: int, rng: np.random.Generator) -> Any:
    rows = int(rng.integers(0, 4))
    tables = {
        "embedding": rng.normal(size=(rows, WIDTH)).astype(np.float32),
        "number": rng.integers(0, 9, rows),
    }
    classes = [c for c in range(4) if rng.random() < 0.5]
    name = f"s{sample}"
    priority = sample_priority(0, name)
    return cls.of(name, tables, priority=priority, classes=classes, capacity=2)


def _joint_counts(cls: type, sample: int, rng: np.random.Generator) -> Any:
    bins, slots = rng.integers(0, 4, (WIDTH, 6)), rng.integers(0, 5, (2, 6))
    return cls.of(bins, slots, 4, 5)


def _spectrum(cls: type, sample: int, rng: np.random.Generator) -> Any:
    return cls.of(rng.normal(size=(int(rng.integers(0, 3)), 2, 4, 6)))


def _sums(cls: type, sample: int, rng: np.random.Generator) -> Any:
    names = [name for name in ("a", "b", "c") if rng.random() < 0.7]
    return cls({name: rng.integers(0, 9, WIDTH) for name in names})


def _top_samples(cls: type, sample: int, rng: np.random.Generator) -> Any:
    values = rng.integers(0, 3, (WIDTH, 1)).astype(np.float32)  # few, so that ties are many
    return cls.of([f"s{sample}"], np.where(rng.random((WIDTH, 1)) < 0.2, np.nan, values), 2)


OF_SAMPLE: dict[str, Callable[[type, int, np.random.Generator], Any]] = {
    "joint_counts": _joint_counts,
    "moments": _moments,
    "sample_table": _sample_table,
    "spectrum": _spectrum,
    "sums": _sums,
    "top_samples": _top_samples,
}
"""The statistic of one sample, drawn at random."""
EMPTY: dict[str, Callable[[type], Any]] = {
    "joint_counts": lambda cls: cls.empty(),
    "moments": lambda cls: cls.empty(WIDTH),
    "sample_table": lambda cls: cls.empty(2),
    "spectrum": lambda cls: cls.empty(2, 4, 6),
    "sums": lambda cls: cls.empty(),
    "top_samples": lambda cls: cls.empty(WIDTH, 2),
}


def made(name: str, count: int, seed: int) -> list[Any]:
    cls = catalogue.load("stats", name)
    return [OF_SAMPLE[name](cls, i, np.random.default_rng([seed, i])) for i in range(count)]


def empty(name: str) -> Any:
    return EMPTY[name](catalogue.load("stats", name))


def merged(parts: list[Any], start: Any) -> Any:
    return reduce(lambda one, other: one.merge(other), parts, start)


def same(one: Any, other: Any, exact: bool = False) -> bool:
    """Whether two statistics hold the same: whole numbers and text exactly, floats to 1e-10."""
    a, b = one.to_arrays(), other.to_arrays()
    if set(a) != set(b):
        return False
    for key, values in a.items():
        if values.shape != b[key].shape or values.dtype != b[key].dtype:
            return False
        if exact or values.dtype.kind != "f":
            if not np.array_equal(values, b[key]):
                return False
        elif not np.allclose(values, b[key], rtol=1e-10, atol=1e-10):
            return False
    return True


ALL = pytest.mark.parametrize("name", catalogue.names("stats"))


@ALL
def test_is_known_here(name):
    assert name in OF_SAMPLE and name in EMPTY, f"say in this file how {name} is made of a sample"
    assert isinstance(made(name, 1, 0)[0], Statistic)


@ALL
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_associative_commutative_identity(name, seed):
    a, b, c = made(name, 3, seed)
    nothing = empty(name)
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert same(a.merge(b), b.merge(a))
    assert same(a.merge(nothing), a, exact=True)
    assert same(nothing.merge(a), a, exact=True)
    assert same(nothing.merge(nothing), nothing, exact=True)


@ALL
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), count=st.integers(1, 9))
def test_any_partition_in_any_order_is_a_single_pass(name, data, seed, count):
    samples = made(name, count, seed)
    single = merged(samples, empty(name))
    order = data.draw(st.permutations(range(count)))
    shard = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    shards = [merged([samples[i] for i in order if shard[i] == s], empty(name)) for s in range(4)]
    assert same(merged(data.draw(st.permutations(shards)), empty(name)), single)


@ALL
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 5))
def test_arrays_rebuild_it_exactly(name, seed, count):
    one = merged(made(name, count, seed), empty(name))
    arrays = one.to_arrays()
    for values in arrays.values():
        assert isinstance(values, np.ndarray) and values.dtype.kind != "O"
    again = type(one).from_arrays(arrays)
    assert same(again, one, exact=True)
    more = made(name, count + 2, seed)[count:]
    assert same(merged(more, again), merged(more, one), exact=True), "and merges like it"


@ALL
def test_merging_leaves_its_inputs_alone(name):
    a, b = made(name, 2, 3)
    before = copy.deepcopy((a, b))
    a.merge(b).merge(b)
    a.to_arrays()
    assert same(a, before[0], exact=True) and same(b, before[1], exact=True)

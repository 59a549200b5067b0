"""What steps found out, written and read back: equal, and nothing from elsewhere."""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch

from conceptseg.data.reads import Reads
from conceptseg.engine.carry import UnkeptError, read_back, written
from conceptseg.engine.known import Key, Known
from conceptseg.engine.shelf import Folder
from conceptseg.engine.store import CarryStore, DamagedError, Made
from conceptseg.stats.estimate import Sampling


@dataclass(frozen=True)
class Inner:
    name: str
    rows: np.ndarray
    later: float = field(init=False, default=2.5)


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    by_pair: dict[tuple[int, str], frozenset[str]]
    nothing: None = None

    def __post_init__(self) -> None:
        if self.nothing is None and not self.inner:
            raise ValueError("made as a user makes it")

    @cached_property
    def many(self) -> int:
        return len(self.inner)


VALUES = {
    "plain": (None, True, 3, 2.5, float("inf"), "ä", b"\x00\xff"),
    "nested": [{1: {"a"}, (2, "b"): frozenset({3})}, Counter("abca")],
    "arrays": [np.arange(6.0).reshape(2, 3)[:, ::2], np.array(["x", "yz"]), np.zeros((0, 3), bool)],
    "numbers": [np.float32(0.1), np.int64(2**60), np.str_("x")],
    "tensor": torch.arange(4).reshape(2, 2),
    "path": Path("a/b"),
    "class": Outer((Inner("x", np.array([1 + 2j])),), {(1, "a"): frozenset({"s"})}),
}


def there_and_back(known):
    content, arrays = written(known)
    return read_back(json.loads(json.dumps(content)), arrays, {"tests", "conceptseg"})


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray | torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    elif dataclasses.is_dataclass(a):
        for one in dataclasses.fields(a):
            same(getattr(a, one.name), getattr(b, one.name))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        assert a == b


@pytest.mark.parametrize("name", VALUES)
def test_equal_after_it_was_written(name):
    known = there_and_back(Known({name: VALUES[name]}))
    same(known[Key(name, object)], VALUES[name])


def test_an_array_of_several_is_written_once():
    rows = np.zeros(1000)
    content, arrays = written(Known({"a": [rows, rows], "b": Inner("x", rows)}))
    assert len(arrays) == 1
    back = read_back(content, arrays, {"tests"})
    assert back[Key("a", list)][0] is back[Key("b", Inner)].rows


def test_what_is_derived_is_derived_again():
    outer = VALUES["class"]
    assert outer.many == 1
    assert there_and_back(Known({"x": outer}))[Key("x", Outer)].many == 1
    sampling = Sampling.counting(["a", "b"], ["g", "h"], "image", 3)
    same(there_and_back(Known({"x": sampling}))[Key("x", Sampling)], sampling)


@pytest.mark.parametrize("value", [torch.nn.ReLU(), lambda: 0, object(), np.array([object()])])
def test_what_is_no_plain_value_is_not_kept(value, tmp_path):
    with pytest.raises(UnkeptError, match=r"a\[1\]"):
        written(Known({"a": [0, value]}))
    store = CarryStore(Folder(tmp_path), frozenset())
    store.save("step", "k" * 20, Made(Known({"a": value}), Reads()))
    assert store.load("step", "k" * 20) is None


@pytest.mark.parametrize("name", ["subprocess:Popen", "conceptseg.engine.run:run_study"])
def test_nothing_from_elsewhere_is_made(name):
    with pytest.raises(ValueError, match="not of this study|no dataclass"):
        read_back({"a": {"class": name, "fields": {}}}, {}, {"conceptseg"})


def test_a_damaged_file_is_told(tmp_path):
    store = CarryStore(Folder(tmp_path), frozenset({"tests"}))
    reads = Reads({"image": {"s1": b"\2" * 32}})
    store.save("step", "k" * 20, Made(Known({"x": VALUES["class"]}), reads))
    made = store.load("step", "k" * 20)
    same(made.known[Key("x", Outer)], VALUES["class"])
    assert made.reads == reads
    assert store.load("step", "l" * 20) is None
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match="checksum"):
        store.load("step", "k" * 20)


def test_a_configured_technique_comes_back_as_it_was(tmp_path):
    from conceptseg.explain.metrics.deletion import Deletion

    made = Deletion(fill="mean", steps=7)
    store = CarryStore(Folder(tmp_path), frozenset())
    store.save("step", "key", Made(Key("metric", Deletion)(made), Reads()))
    found = store.load("step", "key")
    assert found is not None and found.known[Key("metric", Deletion)] == made
    content, arrays = written(Key("metric", Deletion)(made))
    content["metric"]["class"] = "pydantic.main:BaseModel"
    with pytest.raises(ValueError, match="not of this study"):
        read_back(content, arrays, {"conceptseg"})
    content["metric"]["class"] = "conceptseg.stats.estimate:Sampling"
    with pytest.raises(ValueError, match="no keys"):
        read_back(content, arrays, {"conceptseg"})


def test_arrays_lie_in_memory_as_they_did(tmp_path):
    store, rows = CarryStore(Folder(tmp_path), frozenset()), Key("rows", np.ndarray)
    drawn = np.random.default_rng(0).normal(size=(50, 7))
    for array in (drawn, np.asfortranarray(drawn)):
        store.save("step", "key", Made(rows(array), Reads()))
        found = store.load("step", "key")
        assert found is not None and found.known[rows].strides == array.strides
        np.testing.assert_array_equal(found.known[rows].mean(0), array.mean(0))

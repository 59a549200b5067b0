"""A predictor whose numbers do not fit is refused when it is read, and never fails in use."""

import json

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.study.bottleneck.predictor import HEAD, PREFIX, Predictor
from tests.study.bottleneck.test_predictor import whole


@pytest.fixture(scope="module")
def sound():
    predictor, *given = whole()
    return predictor.to_arrays(), given


SPOILT = {
    "cut": lambda one: one[:-1],
    "none": lambda one: one[:0],
    "deeper": lambda one: one[None],
    "text": lambda one: one.astype(str),
    "complex": lambda one: one.astype(complex),
    "whole numbers": lambda one: one.astype(int),
    "parts": lambda one: one + 0.5,
    "below": lambda one: one - 10**6,
    "beyond": lambda one: one + 10**6,
    "not finite": lambda one: one * np.nan,
    "turned": lambda one: one[::-1],
    "transposed": lambda one: one.T,
    "one number": lambda one: np.array(3),
}


@pytest.mark.parametrize("way", SPOILT)
def test_every_array_is_looked_at(sound, way):
    arrays, given = sound
    refused = 0
    for name in arrays.keys() - {HEAD}:
        try:
            changed = SPOILT[way](arrays[name])
        except (IndexError, TypeError):  # a single number has no parts
            continue
        try:
            found = Predictor.from_arrays({**arrays, name: changed}).score(*given)
        except InputError as error:
            refused += 1
            assert "run the " in str(error) and "\n" not in str(error)
        else:
            assert found.quality.shape == given[2].shape, name
    least = {"whole numbers": 0, "transposed": 4, "turned": 1, "beyond": 4, "parts": 8}
    assert refused >= least.get(way, 10)


@pytest.mark.parametrize("name", ["kinds", "slicing", "facts", "version"])
@pytest.mark.parametrize("value", [None, 3, "text", [], [[1]], {}, {"features": []}])
def test_the_head_is_looked_at(sound, name, value):
    arrays, _ = sound
    head = json.loads(bytes(arrays[HEAD])) | {name: value}
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with pytest.raises(InputError, match="its predictor cannot be read"):
        Predictor.from_arrays({**arrays, HEAD: text})


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 2.0), ("alpha", "0.1"), ("flip", 1), ("classes", [3]), ("layer", None)]
    + [("features", "all"), ("confidence", ["sure", "size", "edges"]), ("weights", 7)],
)
def test_facts_are_looked_at(sound, name, value):
    arrays, _ = sound
    head = json.loads(bytes(arrays[HEAD]))
    head["facts"][name] = value
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with pytest.raises(InputError, match=f"cannot be read.*{name}"):
        Predictor.from_arrays({**arrays, HEAD: text})


def test_a_tree_that_goes_round_is_refused(sound):
    arrays, given = sound
    trees = next(name for name in arrays if name.endswith(".left"))
    inner = np.flatnonzero(arrays[trees] >= 0)
    circle = arrays[trees].copy()
    circle[inner[0]] = inner[0]
    with pytest.raises(InputError, match="left"):
        Predictor.from_arrays({**arrays, trees: circle})


def test_units_that_a_layer_has_not(sound):
    arrays, (pooled, *others) = sound
    predictor = Predictor.from_arrays({**arrays, f"{PREFIX}columns": np.arange(101, 108)})
    with pytest.raises(InputError, match="reads unit 107 of body, which has 8"):
        predictor.score(pooled, *others)

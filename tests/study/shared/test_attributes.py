"""Metadata as kinds of images: values as they are, and thirds of numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.shared.attributes import columns, of_objects


def test_numbers_of_many_values_become_thirds_of_those_that_are_known():
    given = [float(n) for n in range(30)] + [float("nan"), float("inf")]
    found = columns({"age": given})["age"]
    assert found[0] == "lowest third" and found[15] == "middle third"
    assert found[29] == found[31] == "highest third" and found[30] == "none"


@pytest.mark.parametrize("values", [["a"] * 25, [str(n) for n in range(25)]])
def test_columns_that_cannot_tell_kinds_are_left_out(values):
    assert columns({"name": values}) == {}


def test_objects_have_size_place_and_what_all_of_their_images_have():
    metadata = {"a": {"site": "x", "odd": 1.0}, "b": {"site": "y"}}
    manifest = SimpleNamespace(sample=lambda name: SimpleNamespace(metadata=metadata[name]))
    area, middle = np.linspace(0, 1, 24), np.stack([np.zeros(24), np.arange(24.0)], 1)
    found = of_objects(manifest, ["a", "b"] * 12, area, middle)
    assert found["size"][0] == "lowest third" and found["place, across"][-1] == "highest third"
    assert found["site"][:2] == ["x", "y"] and sorted(found) == ["place, across", "site", "size"]

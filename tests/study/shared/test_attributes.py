"""Metadata as kinds of images: values as they are, and thirds of numbers."""

import pytest

from conceptseg.study.shared.attributes import columns


def test_numbers_of_many_values_become_thirds_of_those_that_are_known():
    given = [float(n) for n in range(30)] + [float("nan"), float("inf")]
    found = columns({"age": given})["age"]
    assert found[0] == "lowest third" and found[15] == "middle third"
    assert found[29] == found[31] == "highest third" and found[30] == "none"


@pytest.mark.parametrize("values", [["a"] * 25, [str(n) for n in range(25)]])
def test_columns_that_cannot_tell_kinds_are_left_out(values):
    assert columns({"name": values}) == {}

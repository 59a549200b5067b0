"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import refused_alike

REFUSALS = [
    ({"layer": "nowhere"}, {}, "nowhere"),
    ({"finder": {"kind": "nmf", "counts": [10**6]}}, {}, "too few for 1000000 concepts"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "prototypes", keys, data))

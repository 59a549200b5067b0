"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import refused_alike

REFUSALS = [
    ({"pairs": [["red", "red"]]}, r"pairs: \[red, red\] needs two classes"),
    ({"pairs": [["ground", "red"]]}, "pairs: .*the first not the background"),
    ({"pairs": [["red", "gren"]]}, "no class 'gren'.*green"),
    ({"data": {"manifest": "set.yaml", "classes": ["ground"]}}, "data.classes: 'ground' is the"),
]


@pytest.mark.parametrize(("keys", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "deepdream", keys))

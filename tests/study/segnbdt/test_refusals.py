"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import refused_alike

REFUSALS = [
    ({"hierarchy": "given"}, {}, "tells 3 classes apart"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "segnbdt", keys, data))

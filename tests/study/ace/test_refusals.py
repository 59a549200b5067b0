"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import NO_MASKS, refused_alike

REFUSALS = [
    ({"target": {"region": "labelled"}}, NO_MASKS, "target.region 'labelled' needs labels"),
    ({"min_images": 7}, (), "min_images: a class needs 7 images, and .* has 6"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "ace", keys, data))

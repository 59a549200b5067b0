"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import NO_MASKS, refused_alike

REFUSALS = [
    ({"regions": "labelled"}, NO_MASKS, "regions: labelled, but none of the 6 images has a mask"),
    ({"method": {"kind": "seg_grad_cam", "layer": "boddy"}}, {}, "'boddy'"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "landmarks", keys, data))

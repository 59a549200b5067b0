"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import NO_MASKS, refused_alike

REFUSALS = [
    ({}, NO_MASKS, 6, "none of the 6 images has a mask"),
    ({}, {}, 6, r"at most 6 images hold a studied class .* folds: 5 needs at least 10"),
    ({}, {"group": "s(.)"}, 12, "folds: 5, but the images are of only 2 groups"),
]


@pytest.mark.parametrize(("keys", "data", "images", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, images, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "bottleneck", keys, data, images))

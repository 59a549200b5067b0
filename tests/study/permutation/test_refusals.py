"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import NO_MASKS, refused_alike

REFUSALS = [
    ({}, NO_MASKS, "0 of the 6 images have masks, and at least two"),
    ({"min_images": 7}, {}, "min_images: 7, but only 6 images are permuted"),
    ({"channel_names": ["grey"]}, {}, "channel_names: 1 names, but images have 3 channels"),
    ({"groups": {"far": [3]}}, {}, r"groups.far: channels \[3\], but images have channels 0 to 2"),
    ({"groups": {"all channels": [0]}}, {}, "the name 'all channels' is given to two parts"),
    ({"features": ["colour"], "schemes": ["mean"]}, {}, "features, schemes: no part of images"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "permutation", keys, data))

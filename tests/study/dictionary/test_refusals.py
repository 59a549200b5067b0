"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import refused_alike

REFUSALS = [
    (
        {"finder": {"kind": "batch_topk_sae", "counts": [4000]}},
        r"counts: 4000 atoms are more than 4 for each of the \d+ units",
    ),
    ({"finder": {"kind": "nmf", "counts": [900_000]}}, "positions are too few for 900000 concepts"),
    ({"finder": "pca"}, "finder.*unknown concept 'pca'"),
    ({"sobol_draws": 2}, "sobol_draws"),
    ({"recovered": 1.5}, "recovered"),
]


@pytest.mark.parametrize(("keys", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "dictionary", keys))

"""Refusals of what all studies share; each study's own are tested beside the study."""

import re

import pytest

from tests.study.refusals import refused_alike

REFUSALS = [
    ("ace", {"compare": ["seg_grad_camp"]}, "unknown explainer 'seg_grad_camp'"),
    ("ace", {"compare": [{"kind": "seg_grad_cam", "rely": 1}]}, "unknown key 'rely'"),
    ("ability", {"compare": [{"kind": "seg_grad_cam", "layer": "boddy"}]}, "'boddy'"),
    ("audit", {"attribution": {"kind": "seg_grad_cam", "layer": "boddy"}}, "'boddy'"),
    ("ace", {"layer": "boddy"}, "'boddy'.* did you mean 'body'"),
    ("ace", {"run": {"device": "tpu"}}, "run.device"),
]


@pytest.mark.parametrize(("study", "keys", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, study, keys, words):
    assert re.search(words, refused_alike(capsys, tmp_path, study, keys))

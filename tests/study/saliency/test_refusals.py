"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest

from tests.study.refusals import NO_MASKS, refused_alike

CAM = {"compare": ["seg_grad_cam"], "metrics": ["saliency_ratio"]}


def unsuited(kind, **parameters):
    return {"compare": [{"kind": kind, **parameters}], "metrics": ["saliency_ratio"]}


REFUSALS = [
    ({"metrics": ["deletions"]}, {}, "unknown metric 'deletions'"),
    ({"primary": "delete"}, {}, "unknown metric 'delete'"),
    ({"compare": ["seg_grad_camp"]}, {}, "unknown explainer 'seg_grad_camp'"),
    ({"compare": [{"kind": "seg_grad_cam", "layer": "boddy"}]}, {}, "layer 'boddy' does not exist"),
    ({**CAM, "target": {"region": "labelled"}}, NO_MASKS, "target.region: 'labelled' needs labels"),
    (unsuited("guided_backpropagation", samples=4), {}, "has no dropout module"),
    (unsuited("shap", cells=30, samples=50), {}, "50 samples are too few for"),
    (unsuited("score_maps", classes=[99]), {}, "compare: none of the methods suits.*class 99 is"),
    ({**CAM, "memory_gib": 1e-6}, {}, "explain at most 0 at a time, or raise memory_gib"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "saliency", keys, data))

"""What a run will cost is known before: by `check`, and for metrics that explain again."""

import numpy as np

from conceptseg.engine import start
from conceptseg.engine.known import Known
from conceptseg.settings import read_settings
from conceptseg.study.saliency import plan
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.judge import DEAR, Judge, find_dear
from tests.study.saliency.test_study import run, write


def test_metrics_that_would_explain_a_dear_method_again_are_left_out(tmp_path):
    """Two more maps of 61 passes are more than 100, two of a gradient are not; `check` says both,
    and how many passes a case takes."""
    rise, spread = {"kind": "rise", "masks": 60}, {"kind": "noise_spread", "draws": 2}
    study = write(
        tmp_path,
        compare=[rise, "seg_grad_cam"],
        metrics=["deletion", spread],
        primary="deletion",
        again_passes=100,
    )
    read = read_settings("saliency", Saliency, study).study
    context = start.prepare(read)
    told = plan.remarks(read, context)
    assert told[0] == (
        "passes",
        "about 64 for a map of each method, of these rise 61, seg_grad_cam 3; name "
        "fewer or cheaper ones by compare",
    )
    (label,) = [text for what, text in told if what == "left out"]
    assert label.startswith("noise_spread of rise: its further maps take")
    cases, own = read.images, 21
    expected = cases * (64 + 2 * own) + min(cases, read.sanity_images) * 2 * 3
    assert Judge(read).forwards(context) == expected
    result, arrays = run(study, tmp_path / "out")
    unmeasured = np.isnan(arrays["values"][:, :, 1])
    assert unmeasured[:, 0].all() and not unmeasured[:, 1].all()
    (row,) = [one for one in result["skipped"] if one["kind"] == "metric"]
    assert row["method"] == "rise" and row["metric"] == "noise_spread"
    assert "122 passes" in row["reason"]


def test_what_is_too_dear_is_found_once_and_not_by_whoever_judges(tmp_path):
    """Passes hang on an image's size: those who judge some images would each find another bound."""
    study = write(
        tmp_path,
        compare=[{"kind": "rise", "masks": 60}],
        metrics=["deletion", {"kind": "noise_spread", "draws": 2}],
        primary="deletion",
        again_passes=100,
    )
    read = read_settings("saliency", Saliency, study).study
    context = start.prepare(read)
    steps = plan.steps(read)
    judge = next(one for one in steps if isinstance(one, Judge))
    assert steps.index(find_dear) < steps.index(judge)
    assert find_dear(read, context, Known())[DEAR] == {("rise", "noise_spread"): 122.0}
    with judge.open(context, Known()) as opened:
        assert DEAR not in opened

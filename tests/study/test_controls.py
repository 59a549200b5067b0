"""Controls that cannot be measured, because the network with its weights shuffled puts out NaN."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.config import ModelConfig
from conceptseg.stats.p_values import exchangeable_p
from conceptseg.study import __main__ as command
from tests.study.ace import test_study as ace
from tests.study.deepdream import test_study as deepdream


def test_a_draw_that_is_no_number_is_no_evidence():
    """Of nineteen draws below, p is 1/20; of draws that may be anything, 1."""
    assert exchangeable_p(5.0, np.zeros(19)) == 1 / 20
    assert exchangeable_p(5.0, np.full(19, np.nan)) == 1
    assert exchangeable_p(5.0, [0.0] * 18 + [np.nan]) == 2 / 20


def test_the_control_of_ace_is_not_testable(tmp_path):
    study = ace.write_scenes(tmp_path / "files")
    content = yaml.safe_load(study.read_text())
    content["model"]["name"] = "tests.fragile:FragileBar"
    study.write_text(yaml.safe_dump(content))
    assert command.main(["ace", "-c", str(study), "--out", str(tmp_path / "out"), "-q"]) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    control = result["notes"]["control"]
    assert control["shuffled"] is None and control["pairs"] > 0
    assert (
        "not testable: the network with its weights shuffled"
        in (tmp_path / "out/report.html").read_text()
    )


@pytest.mark.slow
def test_paths_without_a_null_path_are_not_testable_and_say_why(tmp_path):
    """What the network's own paths change is still measured."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number in range(deepdream.IMAGES):
        pixels, mask = deepdream.scene(number, number % 2 == 0)
        Image.fromarray(pixels).save(tmp_path / f"images/s{number:02d}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/s{number:02d}.png")
    content = {
        "name": "stripes",
        "channels": 1,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": ["ground", "striped"], "background": "ground"},
    }
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content))
    network = ModelConfig(source="factory", name="tests.fragile:FragileStripe")
    result = deepdream.finished(tmp_path / "out", deepdream.study(tmp_path, model=network))
    row = deepdream.cue(result, result.tables["cues"].rows[0]["path"], "fine_texture")
    assert row["conclusion"] == "not testable" and "weights shuffled" in row["needs"]
    assert row["starts"] >= 6 and np.isfinite(row["pixel"]) and row["shuffled"] is None
    assert not result.findings

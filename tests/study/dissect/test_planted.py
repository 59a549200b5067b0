"""Does a dissection find what was planted? Judged by networks and scenes whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from conceptseg.planted import generator
from conceptseg.planted.constructed import CONTEXT
from conceptseg.study import __main__ as command

pytestmark = pytest.mark.slow

STUDIES = Path(__file__).parents[3] / "studies"
BIASED, CONFUSER = (
    generator.CLASSES[c] for c in (generator.BIASED_CLASS, generator.CONFUSER_CLASS)
)
TEXTURE = "known context"
EXACT = {"format": "planted", "name": "exact", "scenes": "exact", "n": 102}
SHORT = {"compare": [], "rotations": 0, "permutations": 499, "cards": 6, "exemplars": 1}


def run(folder, model, manifest=None, **changes):
    content = yaml.safe_load((STUDIES / "dissect_planted.yaml").read_text())
    path = STUDIES / content["data"]["manifest"]
    if manifest is not None:
        path = folder / "set.yaml"
        path.write_text(yaml.safe_dump(manifest))
    content |= {"model": model, **SHORT, **changes}
    content["data"] |= {"manifest": str(path)}
    (folder / "dissect_here.yaml").write_text(yaml.safe_dump(content))
    words = ["dissect", "-c", str(folder / "dissect_here.yaml"), "--out", str(folder / "out"), "-q"]
    assert command.main(words) == 0
    return json.loads((folder / "out/result.json").read_text())


def trained(name):
    return {"source": "planted", "name": name}


def constructed(w):
    return {"source": "planted", "name": "constructed", "arguments": {"w": w}}


def detectors(result):
    rows = result["tables"]["units"]["rows"]
    return [row for row in rows if row["detector"] and row["label"] == TEXTURE]


def losses(result):
    """Of each class, the row about the units of the bias texture."""
    rows = result["tables"]["losses"]["rows"]
    return {row["class"]: row for row in rows if row["concept"] == TEXTURE}


def test_biased_has_units_for_the_bias_texture_and_its_digit_alone_uses_them(tmp_path):
    result = run(tmp_path, trained("biased"))
    found = detectors(result)
    assert len(found) >= 5
    assert max(row["normalised_iou"] for row in found) > 0.9
    own = losses(result)
    assert own[BIASED]["used"] and own[BIASED]["change"] < -0.5
    assert not any(row["used"] for name, row in own.items() if name != BIASED)
    assert all(abs(row["change"]) < 0.1 for name, row in own.items() if name != BIASED)
    # Labels that are permuted give no detectors by the test, and many by the published rule.
    null = result["notes"]["null"]
    assert null["rate"] == pytest.approx(0.05, abs=0.03)
    assert null["detectors"] < 0.02 < 0.2 < null["published"]


def test_clean_has_units_for_the_bias_texture_and_no_class_uses_them(tmp_path):
    result = run(tmp_path, trained("clean"))
    assert detectors(result)
    assert not any(row["used"] for row in losses(result).values())


@pytest.mark.parametrize("w", [0.0, 1.0])
def test_constructed_reads_its_context_unit_as_much_as_it_was_wired_to(tmp_path, w):
    """The unit of the stripes detects them whatever w is; the digit depends on it as w says."""
    result = run(tmp_path, constructed(w), EXACT, ablate_images=60)
    row = next(r for r in result["tables"]["units"]["rows"] if r["unit"] == CONTEXT)
    assert row["label"] == TEXTURE and row["detector"]
    assert row["normalised_iou"] > 0.95 and row["auroc"] > 0.99
    alone = {r["class"]: r for r in result["tables"]["unit_losses"]["rows"] if r["unit"] == CONTEXT}
    if w == 0:
        assert alone[BIASED]["change"] == alone[CONFUSER]["change"] == 0
    else:  # half of the scenes hold the texture: those are right, and wrong without the unit
        assert alone[BIASED]["change"] == pytest.approx(-alone[BIASED]["iou"], abs=1e-6)
        assert 0.3 < alone[BIASED]["iou"] < 0.7
        assert alone[BIASED]["used"]

"""The planted network that leans on brick: its failures are flagged, and its layers knew better."""

import json

import pytest
import yaml

from conceptseg.study import __main__ as command

PAIR = {"digit 3", "digit 9"}


def run(folder, study, **changes):
    manifest = {"format": "planted", "n": 200, "seed": 1, "context": "balanced", "pair_share": 0.5}
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "planted", "name": "biased"},
        "run": {"batch_size": 16, "device": "cpu"},
        "compare": [],
        **changes,
    }
    path = folder / f"{study}_biased.yaml"
    path.write_text(yaml.safe_dump(content))
    assert command.main([study, "-c", str(path), "--out", str(folder / study), "--quiet"]) == 0
    return json.loads((folder / study / "result.json").read_text())


@pytest.mark.slow
def test_the_bottleneck_flags_what_confidence_does_not(tmp_path):
    """A 3 without brick and a 9 with it fail in full confidence; the layer tells them."""
    small = {"repeats": 1, "regressors": ["ridge", "boosting"], "map_images": 20}
    result = run(tmp_path, "bottleneck", failure=0.5, shift_images=4, per_class=False, **small)
    rows = {row["score"]: row for row in result["tables"]["flags"]["rows"]}
    layer, raw = rows["layer"], rows["confidence as it is"]
    assert layer["precision"] > 0.8 and layer["above_low"] > 0.1  # above confidence as well fitted
    assert raw["precision"] < 0.5
    for row in result["tables"]["slices"]["rows"]:
        for digit in (3, 9):
            if f"digit = {digit}" in row["slice"]:
                assert all(f"-d{digit}-" in name for name in row["examples"])
    examples = {
        row["slice"]: row["examples"]
        for key in ("slices", "searched")
        for row in result["tables"][key]["rows"]
    }
    named = [one["details"]["slice"] for one in result["findings"] if "slice" in one["details"]]
    assert named and all(len(examples[name]) == 6 for name in named)  # of 20 pictured at first
    worst = [row for row in result["tables"]["slices"]["rows"] if row["kind"] == "pair"][:2]
    assert {row["slice"] for row in worst} <= {
        "bias_present = False, digit = 3",
        "bias_present = True, digit = 9",
        "digit = 9, texture_0 = brick",
        "digit = 9, texture_1 = brick",
    }
    gaps = {row["told_from"]: row["beats_low"] for row in result["tables"]["standing"]["rows"]}
    assert gaps["layer"] > 0


@pytest.mark.slow
def test_what_the_output_forgets_is_the_pair_that_brick_decides(tmp_path):
    result = run(tmp_path, "ability", control_images=0, unit_images=0, probe=False, gallery=1)
    rows = result["tables"]["forgotten"]["rows"]
    assert len(rows) >= 15
    assert sum(row["class"] in PAIR for row in rows) >= 0.9 * len(rows)
    assert all(row["output"] < 0.3 for row in rows[:10])

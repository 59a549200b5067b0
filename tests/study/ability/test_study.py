"""The ability study through the command, on squares of which a network misses the dim ones."""

import copy
import json

import numpy as np
import pytest
import torch

from conceptseg.study import __main__ as command
from tests.study import dim

SMALL = {"control_images": 6, "unit_images": 12, "compare": ["seg_grad_cam"], "gallery": 2}
IMAGES = 24


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ability")
    path = dim.write(folder / "files", "ability", IMAGES, **SMALL)
    assert dim.run("ability", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_a_layer_that_holds_brightness_beats_the_output(finished):
    """Logits tell dim squares from the ground; deciding at their zero misses the dim ones."""
    _, _, result, _ = finished
    at = {row["layer"]: row for row in result["tables"]["levels"]["rows"]}
    assert at["head"]["above"] > 0.1 and at["head"]["p_adjusted"] < 0.05
    assert at["position alone"]["global"] < at["body"]["global"] < at["head"]["global"]
    assert at["body"]["excess"] is not None
    assert result["tables"]["forgotten"]["rows"]
    claims = " ".join(finding["claim"] for finding in result["findings"])
    assert "What follows head loses square" in claims


def test_units_of_brightness_lead(finished):
    _, _, result, _ = finished
    first = [row for row in result["tables"]["units"]["rows"] if row["rank"] == 1]
    assert all(row["class"] == "square" for row in first)
    lead = {(row["layer"], row["unit"]) for row in result["tables"]["units"]["rows"]}
    assert {("head", 1), ("body", 0)} <= lead


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "Where classes become readable" in before and "Forgotten objects" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, _, arrays = finished
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=7", "run.shards=1"]):
        out = tmp_path / words[0]
        assert dim.run("ability", path, out, *[w for x in words for w in ("--set", x)]) == 0
        _, own = read(out)
        for name, array in arrays.items():
            np.testing.assert_allclose(own[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def test_same_command_twice_gives_the_same_result(finished, tmp_path):
    path, _, result, _ = finished
    assert dim.run("ability", path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    for key in ("findings", "tables", "notes", "skipped", "files"):
        assert again[key] == result[key], key


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"masks": 0}, "0 of the 24 images have masks"),
        ({"min_images": 40}, "no class is in 40 labelled images"),
        ({"layers": ["bdy"]}, "layer 'bdy' does not exist"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, capsys, changes, told):
    path = dim.write(tmp_path / "files", "ability", IMAGES, **{**SMALL, **changes})
    assert dim.run("ability", path, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and told in error


def same(model, seed):
    with torch.inference_mode(False), torch.no_grad():
        return copy.deepcopy(model)


def test_a_network_is_not_above_itself(tmp_path, monkeypatch):
    """The control learns on as many images as the network, or having seen less would count."""
    monkeypatch.setattr("conceptseg.network.shuffle.shuffled", same)
    path = dim.write(tmp_path / "files", "ability", IMAGES, **SMALL)
    assert dim.run("ability", path, tmp_path / "out") == 0
    result, _ = read(tmp_path / "out")
    rows = [row for row in result["tables"]["levels"]["rows"] if row["layer"] != "position alone"]
    for row in rows:
        assert row["excess_images"] == row["images"] > SMALL["control_images"]
        assert abs(row["excess"]) < 1e-9 and abs(row["probe_excess"]) < 1e-9
    _, trained, chance = result["notes"]["chance"]
    assert trained == chance == result["notes"]["forgotten"]


def test_too_few_units_are_told(tmp_path):
    fields = {**SMALL, "groups": 6, "unit": "group"}
    path = dim.write(tmp_path / "files", "ability", IMAGES, **fields)
    assert dim.run("ability", path, tmp_path / "out") == 0
    assert "4 groups are too few to test" in (tmp_path / "out" / "report.html").read_text()

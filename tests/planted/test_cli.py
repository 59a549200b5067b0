"""The command: help without torch, each verb once, and usage errors that help."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from conceptseg.planted.__main__ import app
from conceptseg.planted.generator import CLASSES

WITHOUT_TORCH = """
import sys
from typer.testing import CliRunner
from conceptseg.planted.__main__ import app
import conceptseg.planted.generator, conceptseg.planted.exact
for words in (["--help"], ["train", "--help"], ["measure", "--help"], ["gallery", "--help"]):
    assert CliRunner().invoke(app, words).exit_code == 0
heavy = {"torch", "sklearn", "skimage"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_imports_nothing_heavy():
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True, timeout=60)


@pytest.mark.parametrize("flags", [[], ["--exact"], ["--context", "biased", "--strength", "0.9"]])
def test_gallery(tmp_path, flags):
    from PIL import Image

    out = tmp_path / "sub" / "sheet.png"
    result = CliRunner().invoke(app, ["gallery", "--out", str(out), "--scenes", "13", *flags])
    assert result.exit_code == 0, result.output
    page = np.asarray(Image.open(out))
    assert page.ndim == 2 and page.std() > 10
    assert page.shape[1] == 2 * 12 * (64 + 4)


def test_measure_of_a_constructed_net():
    words = ["measure", "--name", "constructed-0.5", "--scenes", "51"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    from conceptseg.planted.exact import constructed_truth

    found = json.loads(result.output)
    assert found["effect"] == pytest.approx(constructed_truth(0.5).effect)
    assert found["n"] == 51


def test_measure_of_an_unknown_net():
    result = CliRunner().invoke(app, ["measure", "--name", "nonsense"])
    assert result.exit_code == 2
    assert "biased" in result.output


@pytest.mark.slow
def test_train(tmp_path):
    out = tmp_path / "tiny.safetensors"
    words = ["--name", "clean", "--epochs", "1", "--scenes", "64", "--strength", "0.3"]
    result = CliRunner().invoke(app, ["train", *words, "--threads", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    card = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["training"]["strength"] == 0.3
    assert "--strength 0.3 --epochs 1 --scenes 64" in card["command"]


def run(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, result.output


def test_measure_prints_every_class_of_what_the_file_says_was_planted(tmp_path):
    from safetensors.torch import save_file

    from conceptseg.planted.nets import load_net
    from conceptseg.planted.plant import Plant, to_header

    path = tmp_path / "net.safetensors"
    plant = Plant(4, 9, kind="mark")
    save_file(load_net("clean").state_dict(), path, metadata={"plant": to_header(plant)})
    code, output = run("measure", "--weights", path, "--scenes", 2)
    assert code == 0, output
    row = json.loads(output)
    assert row["plant"]["kind"] == "mark" and row["plant"]["biased"] == 4
    assert tuple(row["classes"]) == CLASSES
    assert {key: row[key] for key in row["classes"]["digit 4"]} == row["classes"]["digit 4"]
    assert all(one["low"] <= one["effect"] <= one["high"] for one in row["classes"].values())
    code, output = run("measure", "--weights", path, "--scenes", 2, "--pair", 0, 6, "--tiles", 2)
    assert code == 0, output
    assert json.loads(output)["plant"] == {
        "biased": 0, "confuser": 6, "kind": "tile", "texture": "brick", "tiles": 2
    }  # fmt: skip


def test_training_from_a_net_plants_what_it_is_told(tmp_path, monkeypatch):
    from conceptseg.planted import measure, train
    from conceptseg.planted.nets import load_trained

    few = measure.measured_reliances
    monkeypatch.setattr(
        measure, "measured_reliances", lambda net, n, plant: few(net, 2, plant=plant)
    )
    monkeypatch.setattr(train.measure, "measured_iou", lambda *a, **k: dict.fromkeys(CLASSES, 0.5))
    out = tmp_path / "place.safetensors"
    words = ("--pair", 8, 1, "--kind", "place", "--from", "clean", "--epochs", 1, "--images", 64)
    code, output = run("train", *words, "--seed", 3, "--threads", 1, "--out", out)
    assert code == 0, output
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert rows[0]["epoch"] == 1
    assert [row["class"] for row in rows[1:]] == list(CLASSES)
    assert "low" in rows[1] and "effect" in rows[1]
    assert load_trained(out)[1].name == "8v1-place"
    card = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["command"].endswith("--seed 3 --threads 1 --from clean --pair 8 1 --kind place")
    assert card["training"]["start"] == "clean" and card["training"]["rate"] == 4e-3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "--pair", 3, 3), "given twice"),
        (("train", "--from", "nothing"), "no such file"),
        (("train", "--kind", "mark", "--texture", "gravel"), "has no texture"),
        (("measure", "--texture", "bricks"), "unknown 'bricks'"),
        (("measure", "--name", "constructed-0.5", "--pair", 4, 9), "stripes only"),
        (("measure", "--weights", "nothing.safetensors"), "no such file"),
        (("gallery", "--exact", "--tiles", 2), "plant of their own"),
        (("blend", "--end", "nothing"), "no such file"),
    ],
)
def test_usage_errors_are_told(words, says):
    code, output = run(*words)
    assert code == 2
    assert says in " ".join(output.replace("│", " ").split())


@pytest.mark.parametrize(
    "flags", [("--kind", "mark"), ("--kind", "place"), ("--texture", "gravel", "--tiles", 2)]
)
def test_gallery_of_another_plant(tmp_path, flags):
    code, output = run("gallery", "--out", tmp_path / "a.png", "--scenes", 3, *flags)
    assert code == 0, output
    assert run("gallery", "--out", tmp_path / "b.png", "--scenes", 3)[0] == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()

"""The command: help without torch, each verb once, and usage errors that help."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from conceptseg.planted.__main__ import app

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

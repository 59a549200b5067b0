"""Studies that keep something of each image take a bounded number of them, and say so."""

import json

import pytest

from conceptseg.data.manifest import load_manifest
from conceptseg.engine.start import read_manifest
from conceptseg.settings import read_settings
from conceptseg.study.__main__ import main as command
from conceptseg.study.bottleneck.config import Bottleneck
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_strange import write


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(Bottleneck, "most_images", 14)
    names = NETWORKS["plain"].classes
    return write(tmp_path, "bottleneck", "plain", {names: write_scenes(tmp_path / "s", 20)})


def test_those_drawn_are_told_and_a_limit_asks_for_more(path, tmp_path, capsys):
    words = ["bottleneck", "-c", str(path), "--out", str(tmp_path / "out")]
    assert command(words) == 0
    told = capsys.readouterr().err
    assert "14 images are drawn of 20; data.limit asks for more" in told
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["skipped"][0] == {
        "kind": "samples",
        "count": 6,
        "reason": "14 images are drawn of 20; data.limit asks for more",
    }
    assert result["provenance"]["samples"] == 14
    assert "Skipped entries: 6" in (tmp_path / "out/report.html").read_text()
    assert command(["check", "-c", str(path), "--study", "bottleneck"]) == 0
    assert "14 images, 4 classes, drawn of 20" in capsys.readouterr().out
    more = ["-c", str(path), "--study", "bottleneck", "--set", "data.limit=20"]
    assert command(["check", *more]) == 0
    told = capsys.readouterr().out
    assert "20 images, 4 classes" in told and "drawn of" not in told


def test_they_are_those_that_such_a_limit_keeps(path, monkeypatch):
    settings = read_settings("bottleneck", Bottleneck, path, [])
    drawn = read_manifest(settings.study)
    assert drawn.left == 6
    kept = load_manifest(settings.study.data.manifest).select(limit=14, seed=settings.study.seed)
    assert drawn.samples == kept.samples

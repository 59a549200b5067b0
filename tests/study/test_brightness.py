"""The example study of CONTRIBUTING, in `tests/study/brightness`: run, checked, resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from conceptseg import catalogue
from conceptseg.engine.store import FOLDER
from conceptseg.study import __main__ as command
from conceptseg.study.command.studies import study_command
from tests.study.ace import test_study as scenes
from tests.study.brightness import measure
from tests.study.brightness.config import Brightness
from tests.study.test_bad_input import one_line


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The file of a brightness study of painted scenes, the study among the command's verbs."""
    names, load = catalogue.names, catalogue.load
    monkeypatch.setattr(catalogue, "names", lambda k: (*names(k), *["brightness"] * (k == "study")))
    monkeypatch.setattr(
        catalogue, "load", lambda k, n: Brightness if n == "brightness" else load(k, n)
    )
    entry = catalogue.Entry("study", "brightness", "example", "", "Brightness of classes.")
    monkeypatch.setattr(catalogue, "entry", lambda *_: entry)
    commands = list(command.app.registered_commands)
    monkeypatch.setattr(command.app, "registered_commands", commands)
    command.app.command(name="brightness")(study_command("brightness"))
    file = scenes.write_scenes(tmp_path / "files", 12)
    content = yaml.safe_load(file.read_text())
    shared = {key: content[key] for key in ("data", "model", "run", "layer") if key in content}
    file = file.with_name("brightness_painted.yaml")
    file.write_text(yaml.safe_dump(shared | {"compare": ["seg_grad_cam"]}))
    monkeypatch.chdir(tmp_path)
    return file


def run(study, *words):
    return command.main(["brightness", "--config", str(study), "--out", "out", *words])


def test_it_finds_that_squares_are_brighter_than_their_ground(study):
    assert run(study) == 0
    result = json.loads(Path("out/result.json").read_text())
    ground = next(one for one in result["findings"] if one["class"] == "ground")
    assert ground["effect"] < -0.2 and ground["ci"][1] < 0 and ground["p_adjusted"] <= 0.05
    assert (ground["n"], ground["of"]) == (12, "groups")
    assert result["verdict"]["status"] == "concern"
    page = Path("out/report.html").read_text()
    assert 'data-status="concern"' in page
    assert "Brightness of classes of" in page and "12 groups" in page
    shutil.copy("out/report.html", "first.html")
    assert command.main(["report", "out"]) == 0
    assert Path("out/report.html").read_text() == Path("first.html").read_text()


def test_a_killed_run_resumes_and_gives_the_same(study, monkeypatch):
    assert run(study, "--shards", "4") == 0
    whole = json.loads(Path("out/result.json").read_text())
    mapped = measure.Measure.map

    def stopped(self, context, batch, known):
        if len(list(Path("out", FOLDER).rglob("*.safetensors"))) >= 2:
            raise KeyboardInterrupt
        return mapped(self, context, batch, known)

    shutil.rmtree("out")
    monkeypatch.setattr(measure.Measure, "map", stopped)
    assert run(study, "--shards", "4") == 130
    monkeypatch.setattr(measure.Measure, "map", mapped)
    assert run(study, "--shards", "4") == 0
    again = json.loads(Path("out/result.json").read_text())
    assert again["timings"]["resumed_shards"]["measure"] >= 2
    for key in ("findings", "tables", "notes", "skipped"):
        assert again[key] == whole[key]


def test_check_and_run_refuse_alike(study, capsys):
    lines = []
    for verb in (["brightness", "--out", "out"], ["check", "--study", "brightness"]):
        code = command.main([*verb, "--config", str(study), "--set", "min_images=13"])
        streams = capsys.readouterr()
        lines.append(one_line(code, streams.out, streams.err))
    assert lines[0] == lines[1]
    assert "min_images: 13, but there are 12 images" in lines[0]


def test_check_lists_its_steps(study, capsys):
    assert command.main(["check", "--study", "brightness", "--config", str(study)]) == 0
    assert "measure" in capsys.readouterr().out


def test_it_is_short():
    folder = Path(measure.__file__).parent
    assert sum(len(path.read_text().splitlines()) for path in folder.glob("*.py")) <= 165


def test_gaps_by_hand(study):
    """The finding's effect is the mean over images of inside less outside, by numpy alone."""
    assert run(study) == 0
    from PIL import Image

    gaps = []
    for path in sorted((study.parent / "images").glob("*.png")):
        grey = np.asarray(Image.open(path).convert("RGB"), float).mean(2) / 255
        square = grey > 0.6
        gaps.append(grey[~square].mean() - grey[square].mean())
    row = json.loads(Path("out/result.json").read_text())["tables"]["gaps"]["rows"][0]
    assert row["class"] == "ground" and row["gap"] == pytest.approx(np.mean(gaps), abs=1e-5)

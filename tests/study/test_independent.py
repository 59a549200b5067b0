"""Several independent classes with overlapping masks in one run, by every study."""

import json
import shutil

import numpy as np
import pytest
import yaml

from conceptseg import catalogue
from conceptseg.result.joined import parts_of
from conceptseg.result.saved import Result, sealed
from conceptseg.study import __main__ as command
from tests.strange_models import ANY, write_overlapping
from tests.study.test_bad_input import one_line
from tests.study.test_strange import IMAGES, STUDIES

FAST = "permutation"
ALL = [
    pytest.param(study, marks=() if study == FAST else pytest.mark.slow)
    for study in catalogue.names("study")
    if study != "segnbdt"
]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_overlapping(tmp_path_factory.mktemp("overlapping"), IMAGES)


def write(folder, study, manifest, **model):
    content = {
        "data": {"manifest": str(manifest)},
        "model": {
            "source": "factory",
            "name": "tests.strange_models:Overlapping",
            "classes": list(ANY),
            "values": "independent",
            **model,
        },
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 5, "shards": 1, "threads": 1},
        "picture_px": 48,
        "compare": ["seg_grad_cam"],
        **STUDIES[study],
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{study}_overlapping.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(path, study, out):
    return command.main([study, "-c", str(path), "--out", str(out), "-q"])


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory):
    """The results of all classes in one run, by study, each made once."""
    known = {}

    def made(study):
        if study not in known:
            folder = tmp_path_factory.mktemp(study)
            assert run(write(folder, study, manifest), study, folder / "whole") == 0
            known[study] = folder / "whole"
        return known[study]

    return made


@pytest.mark.parametrize("study", ALL)
def test_one_run_of_all_classes_says_what_a_run_of_each_says(study, whole, manifest, tmp_path):
    """The oracle: three runs, each of a network that is told to study one class."""
    out = tmp_path / "whole"
    shutil.copytree(whole(study), out)
    result = Result.load(out)
    parts = parts_of(result)
    assert list(parts) == list(ANY)
    for name, part in parts.items():
        path = write(tmp_path / f"of-{name}", study, manifest, positive_class=name)
        assert run(path, study, tmp_path / name) == 0
        alone = Result.load(tmp_path / name)
        assert part.findings == alone.findings
        assert part.notes == alone.notes and part.config == alone.config
        assert {key: table.rows for key, table in part.tables.items()} == {
            key: table.rows for key, table in alone.tables.items()
        }
        assert part.arrays.keys() == alone.arrays.keys() and part.images == alone.images
        for key, array in part.arrays.items():
            np.testing.assert_array_equal(array, alone.arrays[key])
    total = sum(len(part.findings) for part in parts.values())
    assert len(result.findings) == total
    html = (out / "report.html").read_text()
    assert all(f"{name}: " in html for name in ANY)
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == html


def test_a_tree_of_independent_classes_is_refused(manifest, tmp_path, capsys):
    path, out = write(tmp_path, "segnbdt", manifest), tmp_path / "out"
    for arguments in (
        ["segnbdt", "-c", str(path), "--out", str(out), "-q"],
        ["check", "-c", str(path), "--study", "segnbdt"],
    ):
        code = command.main(arguments)
        streams = capsys.readouterr()
        assert "classes of which each pixel has one" in one_line(code, "", streams.err)
    assert not out.exists()


def test_check_shows_every_class_with_its_masks_and_iou(manifest, tmp_path, capsys):
    assert command.main(["check", "-c", str(write(tmp_path, FAST, manifest)), "--study", FAST]) == 0
    told = capsys.readouterr().out
    assert "independent, each a yes or no of its own; studied: any, crimson, azure" in told
    assert (
        told.count("DOUBT") == told.count("layer's worth")
        and "for each of any, crimson, azure" in told
    )
    for name in ANY:
        (line,) = (one for one in told.splitlines() if one.count(f" {name} ") == 3)
        assert float(line.split()[-2]) > 0.7


def test_masks_of_other_classes_are_named(manifest, tmp_path, capsys):
    classes = ["any", "azure", "crimson"]
    path = write(tmp_path, FAST, manifest, classes=classes)
    assert command.main(["check", "-c", str(path), "--study", FAST]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "masks fit other classes better: azure by crimson, crimson by azure" in told


def test_classes_can_be_chosen(manifest, tmp_path):
    path = write(tmp_path, FAST, manifest)
    content = yaml.safe_load(path.read_text())
    content["data"]["classes"] = ["azure", "any"]
    path.write_text(yaml.safe_dump(content))
    assert run(path, FAST, tmp_path / "out") == 0
    assert list(parts_of(Result.load(tmp_path / "out"))) == ["azure", "any"]


def test_overlapping_masks_of_one_of_many_are_refused_with_the_key(manifest, tmp_path, capsys):
    path = write(tmp_path, FAST, manifest, values="logits", classes=["ground", *ANY[1:]])
    code = command.main(["check", "-c", str(path), "--study", FAST])
    streams = capsys.readouterr()
    assert code == 2 and "model.values: independent" in streams.err


@pytest.mark.slow
def test_a_predictor_of_quality_is_that_of_one_class(whole, manifest, tmp_path, capsys):
    path, out = write(tmp_path, "bottleneck", manifest), whole("bottleneck")
    capsys.readouterr()
    code = command.main(["predict-quality", str(out), "-c", str(path)])
    assert "model.positive_class: any, crimson, azure" in one_line(
        code, "", capsys.readouterr().err
    )
    chosen = ["--set", "model.positive_class=crimson"]
    assert command.main(["predict-quality", str(out), "-c", str(path), *chosen]) == 0
    assert len(capsys.readouterr().out.splitlines()) == IMAGES + 1


def test_a_damaged_joined_result_is_refused_in_one_line(whole, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(whole(FAST), out)
    saved = json.loads((out / "result.json").read_text())
    del saved["notes"]["independent_classes"][1]["findings"]
    (out / "result.json").write_text(json.dumps(sealed(saved)))
    capsys.readouterr()
    code = command.main(["report", str(out)])
    assert "is damaged or edited" in one_line(code, "", capsys.readouterr().err)

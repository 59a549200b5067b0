"""DeepDream paths from files to report: a network that uses stripes and is blind to brightness."""

import dataclasses
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.config import DataConfig, ModelConfig, RunConfig
from conceptseg.engine import run, start
from conceptseg.errors import InputError
from conceptseg.report.page import render
from conceptseg.result.saved import Result
from conceptseg.study.deepdream.config import DeepDream
from tests.study.deepdream.classifier import scene

IMAGES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("scenes")
    for part in ("images", "masks"):
        (place / part).mkdir()
    for number in range(IMAGES):
        pixels, mask = scene(number, number % 2 == 0)
        Image.fromarray(pixels).save(place / f"images/s{number:02d}.png")
        Image.fromarray(mask).save(place / f"masks/s{number:02d}.png")
    content = {
        "name": "stripes",
        "channels": 1,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": ["ground", "striped"], "background": "ground"},
    }
    (place / "set.yaml").write_text(yaml.safe_dump(content))
    return place


def study(folder, batch_size=8, shards=None, **changes):
    given = {
        "data": DataConfig(manifest=str(folder / "set.yaml")),
        "model": ModelConfig(source="factory", name="tests.study.deepdream.classifier:StripeNet"),
        "run": RunConfig(device="cpu", batch_size=batch_size, shards=shards),
        "layer": "body",
        "paths": ("appear", "vanish"),
        "starts": 12,
        "steps": 48,
        "step": 0.005,
        "points": 2,
        "picture_px": 48,
        "compare": ["seg_grad_cam"],
    }
    return DeepDream(**{**given, **changes})


def finished(out, one):
    return run.run_study(one, start.prepare(one), out)


@pytest.fixture(scope="module")
def result(folder, tmp_path_factory):
    return finished(tmp_path_factory.mktemp("a"), study(folder))


def cue(result, path, name):
    (row,) = [
        row
        for row in result.tables["cues"].rows
        if row["path"] == path and row["descriptor"] == name
    ]
    return row


def test_the_cue_that_is_used_changes_the_right_way(result):
    """To become striped, pictures get vertical lines; to stop being striped, they lose them."""
    lines = cue(result, "striped appears", "orientation")
    assert lines["pixel"] < -0.5 and lines["phase"] < 0 and lines["natural"] < -0.8
    assert lines["conclusion"] == "as in the data", lines
    assert abs(lines["smooth"]) < 0.3
    down = cue(result, "striped vanishes", "deviation")
    assert down["pixel"] < 0 and down["conclusion"] in ("as in the data", "no finding")


def test_the_cue_that_is_not_used_stays_within_chance(result):
    for kind in ("appears", "vanishes"):
        row = cue(result, f"striped {kind}", "mean")
        assert abs(row["pixel"]) < 0.2 and row["conclusion"] in ("no finding", "ignored")


def test_paths_flip_and_null_paths_do_not(result):
    rows = {(row["path"], row["walk"]): row for row in result.tables["paths"].rows}
    assert rows["striped appears", "pixel"]["flipped"] > 0.9
    for walk in ("smooth", "shuffled"):
        assert rows["striped appears", walk]["flipped"] < 0.5
        length = rows["striped appears", walk]["length"]
        assert length == pytest.approx(rows["striped appears", "pixel"]["length"], rel=0.05)


def content(result):
    return dataclasses.replace(result, timings={}, config={}, provenance={}).to_json()


@pytest.mark.slow
def test_the_same_twice_and_however_the_run_is_cut(result, folder, tmp_path):
    assert content(finished(tmp_path / "b", study(folder))) == content(result)
    for n, cut in enumerate([(1, 4), (7, 1)]):
        other = finished(tmp_path / str(n), study(folder, *cut))
        for name in ("described", "score", "length"):
            np.testing.assert_allclose(
                other.arrays[name], result.arrays[name], rtol=1e-4, atol=1e-5
            )
        assert [row["conclusion"] for row in other.tables["cues"].rows] == [
            row["conclusion"] for row in result.tables["cues"].rows
        ]


def test_report_from_the_saved_result(result, tmp_path):
    run.save(DeepDream, result, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    again = Result.load(tmp_path / "out")
    assert render(DeepDream.report(again), again) == page
    assert {f.evidence for f in result.findings} <= set(re.findall(r'id="([^"]+)"', page))


@pytest.mark.slow
def test_one_digit_becomes_another(tmp_path):
    one = DeepDream(
        data=DataConfig(manifest="builtin:planted", limit=40, classes=("digit 3",)),
        model=ModelConfig(source="planted", name="biased"),
        run=RunConfig(device="cpu"),
        paths=("become",), pairs=(("digit 9", "digit 3"),), starts=3, steps=6, points=2,
        compare=(),
    )  # fmt: skip
    found = finished(tmp_path, one)
    assert found.notes["routes"] == ["digit 9 becomes digit 3"]
    score = found.arrays["score"][:, 0]
    assert (score[:, -1] > score[:, 0]).all()


def test_bad_input(folder, tmp_path):
    for one, words in (
        (study(folder, data=DataConfig(manifest=str(folder / "set.yaml"), classes=("ground",))),
         ("data.classes", "ground")),
        (study(folder, paths=("become",), pairs=(("striped", "striped"),)), ("pairs", "two")),
        (study(folder, paths=("become",)), ("paths", "two images")),
        (study(folder, min_region_fraction=0.99), ("paths", "min_region_fraction")),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            finished(tmp_path, one)
        text = str(caught.value)
        assert "\n" not in text and all(word in text for word in words), text

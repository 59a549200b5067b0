"""Actmax from files to report, on a few planted images and few steps."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from conceptseg.config import DataConfig, ModelConfig, RunConfig
from conceptseg.engine import run, start
from conceptseg.errors import InputError
from conceptseg.report.page import render
from conceptseg.result.saved import Result
from conceptseg.study.actmax.config import Actmax

SMALL = {
    "steps": 3, "most": 3, "seeds": 2, "rows": 4, "size_px": 32, "exemplars": 3, "compared": 30,
    "picture_px": 48, "compare": ["seg_grad_cam"],
}  # fmt: skip


def study(batch_size=8, shards=None, **changes):
    given = {
        "data": DataConfig(manifest="builtin:planted", limit=14),
        "model": ModelConfig(source="planted", name="biased"),
        "run": RunConfig(device="cpu", batch_size=batch_size, shards=shards),
        **SMALL,
    }
    return Actmax(**{**given, **changes})


def finished(out, one=None, **changes):
    one = one or study(**changes)
    return run.run_study(one, start.prepare(one), out)


def content(result):
    return dataclasses.replace(result, timings={}, config={}, provenance={}).to_json()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("a"))


def numbers(table):
    return [
        {key: value for key, value in row.items() if isinstance(value, float | int)}
        for row in table.rows
    ]


def test_each_picture_has_its_real_images_beside_it(result):
    units = result.tables["units"].rows
    assert len(units) == 3 and result.arrays["pictures"].shape == (6, 1, 32, 32)
    for place, row in enumerate(units):
        real = [r for r in result.tables["exemplars"].rows if r["feature"] == place]
        assert len(real) == 3 and real[0]["value"] == pytest.approx(row["real_max"], rel=1e-5)
        assert all(r["picture"] in result.images for r in real)
    for row in result.tables["pictures"].rows:
        assert row["picture"] in result.images and row["faded"] in result.images


def test_the_real_images_are_the_strongest_by_brute_force(result):
    from conceptseg.data.batch import batches
    from conceptseg.network.record import encode

    context = start.prepare(study())
    (batch,) = batches(context.manifest, context.manifest.samples, 99)
    maps = encode(context.model, batch.images, context.layer)
    side = 32 * maps.shape[2] // batch.images.shape[2]  # frames as large as the pictures
    places = range(maps.shape[2] - side + 1)
    frames = [maps[:, :, y : y + side, x : x + side].mean((2, 3)) for y in places for x in places]
    means = torch.stack(frames).amax(0).numpy()
    for place, row in enumerate(result.tables["units"].rows):
        order = np.argsort(-means[:, row["unit"]], kind="stable")[:3]
        shown = [r["sample"] for r in result.tables["exemplars"].rows if r["feature"] == place]
        assert shown == [batch.ids[i] for i in order]
        assert row["real_median"] == pytest.approx(np.median(means[:, row["unit"]]), abs=1e-6)
    spread = means.std(0)
    chosen = {row["unit"] for row in result.tables["units"].rows}
    assert chosen == set(np.argsort(-spread)[:3].tolist())


def test_the_same_twice(result, tmp_path):
    assert content(finished(tmp_path)) == content(result)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [(1, 4), (7, None), (32, 1)])
def test_however_the_run_is_cut(result, tmp_path, cut):
    other = finished(tmp_path, batch_size=cut[0], shards=cut[1])
    for name in ("units", "pictures", "exemplars"):
        for a, b in zip(numbers(result.tables[name]), numbers(other.tables[name]), strict=True):
            assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(result.arrays["amplitude"], other.arrays["amplitude"], rtol=1e-6)


def test_report_from_the_saved_result(result, tmp_path):
    run.save(Actmax, result, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert render(Actmax.report(Result.load(tmp_path / "out")), Result.load(tmp_path / "out")) == (
        page
    )
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert {finding.evidence for finding in result.findings} <= ids
    assert {f"unit-{row['unit']}" for row in result.tables["units"].rows} <= ids


@pytest.mark.parametrize("method", ["fourier", "natekar"])
def test_other_methods_by_name(tmp_path, method):
    other = finished(tmp_path, method=method, seeds=1)
    assert other.notes["method"] == method
    assert any("Amplitudes were free" in line for line in Actmax.report(other).limits)


def test_classes_positions_and_directions(tmp_path):
    classes = finished(tmp_path / "c", objective="class", data=DataConfig(
        manifest="builtin:planted", limit=14, classes=("digit 3", "digit 9")))  # fmt: skip
    assert [row["name"] for row in classes.tables["units"].rows] == ["digit 3", "digit 9"]
    place = finished(tmp_path / "p", objective="position", units=(5, 7))
    assert [row["unit"] for row in place.tables["units"].rows] == [5, 7]
    rows = np.random.default_rng(0).random((3, 128))
    np.save(tmp_path / "v.npy", rows)
    found = finished(tmp_path / "d", objective="direction", directions=str(tmp_path / "v.npy"))
    assert [row["name"] for row in found.tables["units"].rows] == [
        f"direction {i}" for i in (0, 1, 2)
    ]


def test_labels_of_a_dissect_result(tmp_path):
    from conceptseg.report.unit_cards import COLUMNS
    from conceptseg.result.table import Table

    known = {"label": "bricks", "formula": "bricks"}
    rows = [{**dict.fromkeys(COLUMNS), **known, "unit": u, "detector": u != 5} for u in range(128)]
    saved = Result("dissect", tables={"units": Table(rows)}, notes={"layer": "bottleneck"})
    saved.save(tmp_path / "dissect")
    found = finished(tmp_path / "out", units=(5, 7), labels=str(tmp_path / "dissect"))
    assert [row["label"] for row in found.tables["units"].rows] == ["", "bricks"]


def one_line(one, tmp_path, *words):
    with pytest.raises(InputError) as caught:
        finished(tmp_path, one)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_bad_input(tmp_path):
    one_line(study(units=(128,)), tmp_path, "units", "128", "0 to 127")
    one_line(study(objective="direction"), tmp_path, "directions", ".npy")
    np.save(tmp_path / "v.npy", np.ones((2, 7)))
    wrong = study(objective="direction", directions=str(tmp_path / "v.npy"))
    one_line(wrong, tmp_path, "7 entries", "128 units")
    np.save(tmp_path / "v.npy", np.zeros((2, 128)))
    one_line(wrong, tmp_path, "none of them zero")
    Result("ace", notes={"layer": "bottleneck"}).save(tmp_path / "ace")
    one_line(study(labels=str(tmp_path / "ace")), tmp_path, "says nothing of units")


def test_a_dead_unit_is_skipped_and_told(tmp_path):
    one = study(units=(5, 7))
    context = start.prepare(one)
    norm = context.model.module.bottleneck[1]
    norm.weight.data[5], norm.bias.data[5] = 0.0, -1.0
    found = run.run_study(one, context, tmp_path)
    assert [row["unit"] for row in found.tables["units"].rows] == [7]
    assert {k: found.skipped[0][k] for k in ("kind", "unit")} == {"kind": "unit", "unit": 5}
    norm.weight.data[7], norm.bias.data[7] = 0.0, -1.0
    with pytest.raises(InputError, match=r"no image excites any .* dead"):
        run.run_study(one, context, tmp_path / "b")

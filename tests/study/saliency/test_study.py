"""The saliency study through the command: what it says, that nothing moves it, what it refuses.

The painted scenes and the hand-wired network are those of the test of ACE: a white square is red
when the image holds enough red, which a bar at the edge brings, so `red` leans on context.
"""

import html
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.explain import methods
from conceptseg.explain.contract import Explainer
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study import __main__ as command
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.report import compose
from conceptseg.study.saliency.standing import KNOWN
from tests.study.ace import test_study

METHODS = ["seg_grad_cam", "vanilla_saliency", "prediction_mask", "random_map"]
METRICS = ["deletion", "dice_explained", "saliency_ratio", "context_share", "randomisation"]
SMALL = {
    "compare": METHODS,
    "metrics": METRICS,
    "images": 6,
    "sanity_images": 2,
    "gallery": 2,
    "picture_px": 64,
}


def write(folder, content=None, images=12, **changes):
    """The study's file beside painted scenes."""
    (folder / "files").parent.mkdir(parents=True, exist_ok=True)
    test_study.write_scenes(folder / "files", images)
    fields = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.ace.test_study:BarNet"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 4, "shards": 2, "threads": 1},
        **SMALL,
        **(content or {}),
        **changes,
    }
    path = folder / "files/saliency_painted.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def run(study, out, *words):
    words = ["saliency", "--config", str(study), "--out", str(out), "--quiet", *map(str, words)]
    assert command.main(words) == 0
    with np.load(Path(out, "arrays.npz"), allow_pickle=False) as arrays:
        return json.loads(Path(out, "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saliency")
    out = folder / "out"
    result, arrays = run(write(folder), out)
    return out, result, arrays


def test_every_case_is_judged_by_every_metric(finished):
    _, result, arrays = finished
    cases = result["tables"]["cases"]["rows"]
    assert len(cases) == 6 and {row["class"] for row in cases} == {"red", "green"}
    assert arrays["values"].shape == (6, len(METHODS), len(METRICS))
    rows = result["tables"]["values"]["rows"]
    assert len(rows) == 6 * len(METHODS)
    taken = [row["randomisation"] is not None for row in rows if row["method"] == "seg_grad_cam"]
    assert sum(taken) <= 2


def test_means_are_those_of_the_values(finished):
    _, result, arrays = finished
    for row in result["tables"]["means"]["rows"]:
        m, k = METHODS.index(row["method"]), METRICS.index(row["metric"])
        values = arrays["values"][:, m, k]
        values = values[np.isfinite(values)]
        assert row["cases"] == len(values)
        if len(values):
            assert row["mean"] == pytest.approx(float(values.mean()), rel=1e-5)
            assert row["low"] is None or row["low"] - 1e-6 <= row["mean"] <= row["high"] + 1e-6


def test_the_mask_copy_has_the_values_that_it_must_have(finished):
    _, result, _ = finished
    means = {(r["method"], r["metric"]): r["mean"] for r in result["tables"]["means"]["rows"]}
    assert means["prediction_mask", "saliency_ratio"] == pytest.approx(1)
    assert means["prediction_mask", "context_share"] == pytest.approx(0)


def test_passes_are_counted_alone_for_each_method(finished):
    _, result, _ = finished
    counts = {row["method"]: row for row in result["tables"]["methods"]["rows"]}
    assert counts["seg_grad_cam"]["forwards"] == 1
    assert counts["seg_grad_cam"]["tail_backwards"] == 1
    assert counts["vanilla_saliency"]["backwards"] == 1
    assert counts["prediction_mask"]["backwards"] == 0
    assert set(result["timings"]["seconds_per_map"]) == set(METHODS)


def test_the_report_shows_all_and_is_made_again_without_the_network(finished):
    out = finished[0]
    text = (out / "report.html").read_text()
    page = test_study.Page(text)
    words = " ".join(page.text)
    for method in METHODS:
        assert method in words
    for section in ("standing", "trade", "against", "sanity", "context", "gallery", "cost"):
        assert section in page.ids, section
    assert page.links <= page.ids
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == text


def test_images_of_few_groups_are_told(finished):
    """The manifest's groups are counted, not what the tests count."""
    result = Result.load(finished[0])
    assert result.notes["manifest_groups"] == result.notes["images"]
    assert not any("groups" in limit for limit in compose(result).limits)
    result.notes["manifest_groups"] = 2
    assert any("2 groups" in limit for limit in compose(result).limits)


def test_where_no_test_could_pass_the_lead_says_so(finished):
    """And does not count such methods among those without a difference."""
    result = Result.load(finished[0])
    for row in result.tables["against"].rows:
        row.update(p=None, p_holm=None, p_least=0.18)
    lead = compose(result).lead
    assert "6 images no corrected p-value can be below 0.18" in lead and "worse" not in lead


def test_the_same_seed_gives_the_same_result(finished, tmp_path):
    again, arrays = run(write(tmp_path), tmp_path / "out")
    for result in (finished[1], again):
        result.pop("timings"), result["provenance"].pop("command"), result.pop("config")
        result["provenance"].pop("code", None)
    assert again == finished[1]
    assert all(np.array_equal(arrays[k], v, equal_nan=True) for k, v in finished[2].items())


@pytest.mark.parametrize(("batch", "shards"), [(1, 1), (7, 4), (32, 1)])
def test_no_cut_of_the_run_changes_it(finished, tmp_path, batch, shards):
    words = ("--set", f"run.batch_size={batch}", "--set", f"run.shards={shards}")
    _, arrays = run(write(tmp_path), tmp_path / "out", *words)
    for key, values in finished[2].items():
        assert np.allclose(arrays[key], values, rtol=1e-5, atol=1e-5, equal_nan=True), key


def test_unlabelled_images_will_do(tmp_path):
    study = write(tmp_path)
    content = yaml.safe_load((tmp_path / "files/set.yaml").read_text())
    content["folders"] = [{"images": "images/{id}.png"}]
    (tmp_path / "files/set.yaml").write_text(yaml.safe_dump(content))
    result, _ = run(study, tmp_path / "out", "--set", "images=3", "--set", "compare=[edge_filter]")
    assert result["notes"]["cases"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare=[seg_grad_camp]"], "did you mean 'seg_grad_cam'"),
        (["compare=[{kind: rise, mask: 4}]"], "unknown key 'mask'; did you mean 'masks'"),
        (["metrics=[deletoin]"], "did you mean 'deletion'"),
        (["primary=delete"], "unknown metric 'delete'"),
        (["layer=boddy"], "layer 'boddy' does not exist"),
        (["compare=[{kind: seg_grad_cam, layer: pooled}]"], "no spatial output|has no influence"),
        (["target.region=labels"], "target.region"),
        (["min_region_fraction=0.9"], "is empty, or below 90.00% of the image"),
        (["data.classes=[blue]"], "no class 'blue'"),
        (["model.arguments={poison: true}"], "NaN|not finite"),
        (["memory_gib=1e-6"], "explain at most 0 at a time, or raise memory_gib"),
    ],
)
def test_what_it_refuses_in_one_clear_line(tmp_path, capsys, words, message):
    import re

    settings = [part for word in words for part in ("--set", word)]
    out = tmp_path / "out"
    code = command.main(
        ["saliency", "--config", str(write(tmp_path)), "--out", str(out), *settings]
    )
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and re.search(message, errors[0]), lines[-3:]
    assert not (out / "result.json").exists()


def test_a_region_that_needs_labels_where_there_are_none(tmp_path, capsys):
    study = write(tmp_path, target={"region": "labelled"})
    content = yaml.safe_load((tmp_path / "files/set.yaml").read_text())
    content["folders"] = [{"images": "images/{id}.png"}]
    (tmp_path / "files/set.yaml").write_text(yaml.safe_dump(content))
    assert command.main(["saliency", "-c", str(study), "--out", str(tmp_path / "out")]) == 2
    assert "labels" in capsys.readouterr().err.splitlines()[-1]


def test_labels_that_hold_nothing_to_explain_are_one_clear_line(tmp_path, capsys):
    """Masks of zeros: every pixel is background, so no class has a labelled region anywhere."""
    study = write(tmp_path, target={"region": "labelled"})
    for path in (tmp_path / "files/masks").glob("*.png"):
        with Image.open(path) as mask:
            Image.fromarray(np.zeros_like(np.array(mask))).save(path)
    out = tmp_path / "out"
    assert command.main(["saliency", "-c", str(study), "--out", str(out)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: target.region: labelled is empty"), last
    assert not (out / "result.json").exists()


FILLS = [{"kind": "deletion", "fill": fill, "steps": 3} for fill in ("mean", "black")]
TWICE = [
    {"kind": kind, **changes}
    for kind, versions in {
        "randomisation": ({"seed": 0}, {"seed": 1}),
        "cbl": ({"sign": "positive"}, {"sign": "absolute"}),
        "cbd": ({"sign": "positive"}, {"sign": "absolute"}),
    }.items()
    for changes in versions
]


@pytest.fixture(scope="module")
def versions_of_metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    ends = [
        {"kind": "dice_explained", "thresholds": [0.1, 0.5, 0.7]},
        {"kind": "saliency_ratio", "thresholds": [0.1, 0.2]},
    ]
    (folder / "files").mkdir()
    (folder / "files/planted.yaml").write_text("{format: planted, name: few, scenes: exact, n: 12}")
    fields = {
        "data": {"manifest": "planted.yaml"},
        "model": {"source": "planted", "name": "constructed", "arguments": {"w": 0.4}},
        "layer": "auto",
    }
    study = write(folder, fields | {"metrics": [*FILLS, *TWICE, *ends]})
    run(study, folder / "out")
    return Result.load(folder / "out")


def test_versions_of_a_metric_are_tested_and_shown_each(versions_of_metrics):
    result = versions_of_metrics
    assert result.notes["primary"] == "deletion (fill mean, steps 3)"
    tested = {row["metric"] for row in result.tables["against"].rows}
    assert {"deletion (fill mean, steps 3)", "deletion (fill black, steps 3)"} <= tested
    known = {r["metric"] for r in result.tables["against"].rows if r["reference"] == KNOWN}
    assert known == {"cbl (sign positive)", "cbl (sign absolute)"}
    report = compose(result)
    assert "In deletion (fill mean, steps 3), " in report.lead and "of 0 methods" not in report.lead
    ids = {block.id for s in report.sections if s for block in s.blocks if hasattr(block, "id")}
    for kind in ("sanity-randomisation", "context-cbl", "context-cbd"):
        assert len([name for name in ids if name.startswith(kind)]) == 2, kind


def test_curves_are_paired_at_common_thresholds(versions_of_metrics):
    result = versions_of_metrics
    (section,) = [s for s in compose(result).sections if s and s.id == "trade"]
    rows = section.blocks[0].table.rows
    assert {row["threshold"] for row in rows} == {0.1}
    means = {(r["metric"], r["method"]): r["mean"] for r in result.tables["means"].rows}
    for row in rows:
        for kind in ("dice_explained", "saliency_ratio"):
            assert row[kind] == pytest.approx(means[kind, row["method"]], rel=1e-5)


def test_a_version_can_be_primary_and_an_unknown_one_is_refused():
    label = "deletion (fill black, steps 3)"
    given = {"data": {"manifest": "m"}, "model": {"source": "planted", "name": "clean"}}
    assert Saliency(**given, metrics=FILLS, primary=label).primary_label == label
    assert Saliency(**given, metrics=FILLS).primary_label == "deletion (fill mean, steps 3)"
    assert Saliency(**given, metrics=["cbl"]).measures() == ("cbl", "deletion")
    with pytest.raises(ValueError, match="unknown metric"):
        Saliency(**given, metrics=FILLS, primary="deletion (fill none)")


def test_without_trivial_maps_nothing_is_said_of_them(finished):
    result = Result.load(finished[0])
    tables = result.tables
    assert "trivial map" in compose(result).lead and "inconclusive" in compose(result).lead
    tables["methods"] = Table([r for r in tables["methods"].rows if r["family"] != "baseline"])
    tables["against"] = Table([], ("method", "metric", "reference"))
    lead = compose(result).lead
    assert "No trivial map ranks" not in lead and "No method could be tested against a copy" in lead


UNFIT = [
    "seg_grad_cam",
    {"kind": "guided_backpropagation", "samples": 3},
    {"kind": "shap", "cells": 40, "samples": 30},
    "prediction_mask",
]


def test_methods_that_do_not_suit_are_left_out_and_told(tmp_path, capsys):
    """On the console, in the result and on the cover; the others are judged."""
    path = write(tmp_path, compare=UNFIT, metrics=["saliency_ratio"], images=2)
    out = tmp_path / "out"
    assert command.main(["saliency", "--config", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    result = json.loads((out / "result.json").read_text())
    rows = {row["method"]: row["reason"] for row in result["skipped"] if row["kind"] == "method"}
    assert list(rows) == ["guided_backpropagation", "shap"]
    assert "has no dropout module" in rows["guided_backpropagation"]
    assert "30 samples are too few" in rows["shap"]
    text = html.unescape((out / "report.html").read_text())
    for method, reason in rows.items():
        assert f"left out: {method}: {reason}" in said
        assert f"{method}: {reason}" in text
    names = [row["method"] for row in result["tables"]["methods"]["rows"]]
    assert sorted(names) == ["prediction_mask", "seg_grad_cam"]
    assert result["notes"]["methods"] == ["seg_grad_cam", "prediction_mask"]
    assert command.main(["check", "--config", str(path)]) == 0
    assert "30 samples are too few" in " ".join(capsys.readouterr().out.split())


def test_a_reason_that_holds_for_several_methods_is_told_once(tmp_path, capsys):
    twice = [{"kind": "guided_backpropagation", "samples": number} for number in (3, 5)]
    path = write(tmp_path, compare=[*UNFIT[2:], *twice], metrics=["saliency_ratio"], images=2)
    assert command.main(["check", "--config", str(path)]) == 0
    checked = " ".join(capsys.readouterr().out.replace("│", " ").split())
    out = tmp_path / "out"
    assert command.main(["saliency", "--config", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    result = json.loads((out / "result.json").read_text())
    rows = [(row["method"], row["reason"]) for row in result["skipped"] if row["kind"] == "method"]
    assert len(rows) == 3 and rows[1][1] == rows[2][1] != rows[0][1]
    told = f"{rows[1][0]}, {rows[2][0]}: {rows[1][1]}"
    page = html.unescape((out / "report.html").read_text())
    (cover,) = (line for line in page.splitlines() if told in line)
    for text in (checked, said, cover):
        assert told in text and text.count(rows[1][1]) == 1
    assert checked.count("left out") == said.count("left out") == 2


class Dark(Explainer):
    """Zero everywhere, or an error where the image is `red`; its name is `edge_filter`'s."""

    fails: ClassVar[bool] = False

    def attribute(self, scene, targets):
        if self.fails and bool((scene.images[:, 0] > 0.9).any()):
            raise InputError("this image has too much red")
        return scene.images.new_zeros(len(targets), len(scene), *scene.size)


def dark(monkeypatch, fails):
    load = catalogue.load
    kind = type("Dark", (Dark,), {"fails": fails, "__module__": "x.edge_filter"})
    monkeypatch.setattr(
        catalogue, "load", lambda k, name: kind if name == "edge_filter" else load(k, name)
    )


def test_maps_of_zeros_say_so_everywhere_and_are_no_finding(tmp_path, monkeypatch):
    dark(monkeypatch, fails=False)
    path = write(tmp_path, compare=["edge_filter", "prediction_mask"], metrics=["saliency_ratio"])
    out = tmp_path / "out"
    result, arrays = run(path, out, "--set", "images=3")
    rows = {row["method"]: row for row in result["tables"]["methods"]["rows"]}
    assert rows["edge_filter"]["blank"] == 3 and rows["prediction_mask"]["blank"] == 0
    assert arrays["blank"].tolist() == [[1, 0]] * 3
    assert all(r["blank"] == (r["method"] == "edge_filter")
               for r in result["tables"]["values"]["rows"])  # fmt: skip
    assert not [one for one in result["findings"] if "edge_filter" in one["claim"]]
    for row in result["tables"]["gallery"]["rows"]:
        assert row["zero everywhere"] == ["edge_filter"]
    text = (out / "report.html").read_text()
    assert "The maps of edge_filter are zero everywhere in all cases" in text
    assert text.count("edge_filter, ") >= 2 and ", zero everywhere" in text


def test_a_method_that_fails_in_a_later_image_has_no_numbers_there(tmp_path, monkeypatch):
    dark(monkeypatch, fails=False)
    path = write(tmp_path, compare=["edge_filter", "prediction_mask"], metrics=["saliency_ratio"])
    monkeypatch.setattr(methods, "_tried", lambda *given: None)
    dark(monkeypatch, fails=True)
    result, arrays = run(path, tmp_path / "out", "--set", "images=4")
    lost = [row for row in result["skipped"] if row["kind"] == "method"]
    assert lost and all(row["reason"] == "this image has too much red" for row in lost)
    gone = np.isnan(arrays["values"][:, 0, 0])
    assert gone.sum() == len({row["sample"] for row in lost})
    assert np.isfinite(arrays["values"][:, 1, 0]).all()

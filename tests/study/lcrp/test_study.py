"""L-CRP through the command, from files to report, on a tiny run."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from conceptseg.planted.constructed import CONTEXT, OBJECT
from conceptseg.report.unit_cards import COLUMNS
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study import __main__ as command
from conceptseg.study.lcrp.report import compose
from tests.small_models import seeded

SMALL = {
    "min_images": 3,
    "concepts": 3,
    "references": 3,
    "random_images": 4,
    "shuffled_networks": 3,
    "shuffled_images": 2,
    "sensitivity_images": 3,
    "instance_pixels": 64,
    "flip_images": 2,
    "flip_steps": 4,
    "random_orders": 2,
    "conserve_images": 1,
    "exemplars": 2,
    "picture_px": 48,
}


def write(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"format": "planted", "name": "few", "scenes": "exact", "n": 12}
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "planted", "name": "constructed", "arguments": {"w": 0.4}},
        "run": {"device": "cpu", "batch_size": 5, "shards": 2, "threads": 1},
        "compare": ["lrp"],
        **SMALL,
        **changes,
    }
    path = folder / "lcrp_small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(study, out, *words):
    code = command.main(["lcrp", "-c", str(study), "--out", str(out), "-q", *map(str, words)])
    assert code == 0
    return json.loads(Path(out, "result.json").read_text())


def refused(capsys, study, out, *words):
    code = command.main(["lcrp", "-c", str(study), "--out", str(out), "-q", *map(str, words)])
    assert code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lcrp")
    study = write(folder / "files")
    run(study, folder / "out")
    return folder / "out"


def read(out):
    return json.loads((out / "result.json").read_text())


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id", ""))
        if tag == "a" and (given.get("href") or "").startswith("#"):
            self.links.add(given["href"][1:])


def test_result_keeps_the_conventions(finished):
    result = read(finished)
    assert result["study"] == "lcrp"
    names = [one["name"] for one in result["provenance"]["passes"]]
    assert names == ["survey", "maps", "ranks", "control", "rules", "background", "flip", "compare"]
    for name in ("scores", "classes", "agreement", "flipping", "retained", "rules", "saliency"):
        assert result["tables"][name]["rows"], name
    for row in result["tables"]["scores"]["rows"]:
        assert 0 <= row["context"] <= 1 and 0 <= row["top"] <= 1
        assert row["context_low"] is None  # four images
    with np.load(finished / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["relevance_mean"].shape[1] == 6
        assert arrays["flip_mean"].shape == (5, 5)  # methods, points


def test_report_shows_the_evidence_of_every_finding(finished):
    page = Page((finished / "report.html").read_text())
    result = read(finished)
    evidence = {finding["evidence"] for finding in result["findings"]}
    assert evidence <= page.ids and page.links <= page.ids
    assert {"context", "map", "sensitivity", "flipping", "retained", "rules"} <= page.ids


def test_each_picture_is_kept_once_and_its_region_is_drawn_by_the_page(finished):
    result = Result.load(finished)
    shown = result.tables["shown"].rows
    compared = {key for key in result.images if key.startswith("compare-")}
    assert {row["picture"] for row in shown} == result.images.keys() - compared
    assert len(shown) == len({row["picture"] for row in shown})
    for row in shown:
        assert bool(row["outline"]) == row["of"].startswith("relevant-")
    html = (finished / "report.html").read_text()
    paths = {row["outline"] for row in shown} - {""}
    assert 1 < len(paths) < len(shown)
    assert all(html.count(f' d="{path}" ') == 1 for path in paths)
    score = result.tables["scores"].rows[0]
    (chart,) = [
        block
        for section in compose(result).sections
        for block in (section.blocks if section else ())
        if block is not None and block.id == "relevance-context"
    ]
    keys = [one.key for one in chart.hover[0]]
    assert keys and all(key.startswith(f"{score['picture']}-") for key in keys)


def test_images_of_few_groups_are_a_limit(finished):
    """The manifest's groups are counted, not what the tests count."""
    result = Result.load(finished)
    notes = dict(result.notes)
    assert notes["manifest_groups"] == notes["images"] == 12
    for unit, groups, limited in (("image", 3, True), ("image", 12, False), ("group", 3, False)):
        result.notes.update(unit=unit, manifest_groups=groups)
        assert any("3 groups" in limit for limit in compose(result).limits) == limited
    result.notes.update(notes)


def test_report_is_rendered_again_from_the_saved_result(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "report.html").unlink()
    assert command.main(["report", str(copy)]) == 0
    assert (copy / "report.html").read_bytes() == (finished / "report.html").read_bytes()


def without_times(result):
    return {key: value for key, value in result.items() if key not in ("timings", "provenance")}


def numbers(value, path=""):
    """All numbers of a result by their place."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, f"{path}/{key}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from numbers(part, f"{path}/{i}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


@pytest.mark.parametrize("words", [("batch_size=1", "shards=1"), ("batch_size=7", "shards=4")])
def test_batches_and_shards_change_nothing(finished, tmp_path, words):
    study = write(tmp_path / "files")
    found = run(study, tmp_path / "out", *(w for one in words for w in ("--set", f"run.{one}")))
    expected = read(finished)
    for key in ("tables", "notes", "findings"):
        first, second = dict(numbers(expected[key])), dict(numbers(found[key]))
        assert first.keys() == second.keys()
        for place, value in first.items():
            assert second[place] == pytest.approx(value, rel=1e-5, abs=1e-5), place


def test_the_same_run_gives_the_same_bytes(finished, tmp_path):
    study = write(tmp_path / "files")
    run(study, tmp_path / "out")
    first, second = (without_times(read(folder)) for folder in (finished, tmp_path / "out"))
    first.pop("config"), second.pop("config")
    assert first == second


def test_a_class_in_too_few_images_is_told(capsys, tmp_path):
    line = refused(capsys, write(tmp_path / "a", min_images=40), tmp_path / "out")
    assert re.search(r"no class is predicted in 40 images .*'digit [39]'", line)


def test_classes_that_are_never_predicted_are_told(capsys, tmp_path):
    """Every region is empty: one line, before anything is written."""
    study = write(tmp_path / "a", data={"manifest": "set.yaml", "classes": ["digit 5"]})
    line = refused(capsys, study, tmp_path / "out")
    assert "no class is predicted in 3 images" in line and "'digit 5' in 0" in line
    assert not (tmp_path / "out/result.json").exists()


def dissection(folder, layer, label="stripes"):
    """As much of a dissect study's result as says what two units of a layer detect."""
    rows = [
        dict.fromkeys(COLUMNS) | {"unit": unit, "label": label, "detector": unit == CONTEXT}
        for unit in (OBJECT, CONTEXT)
    ]
    table = Table(rows, COLUMNS)
    Result(study="dissect", tables={"units": table}, notes={"layer": layer}).save(folder)
    return folder


def test_a_dissection_names_channels(finished, tmp_path):
    layer = read(finished)["notes"]["layer"]
    folder = dissection(tmp_path / "named", layer)
    found = run(write(tmp_path / "a"), tmp_path / "out", "--set", f"labels={folder}")
    rows = {row["unit"]: row for row in found["tables"]["scores"]["rows"]}
    assert rows[CONTEXT]["label"] == "stripes" and rows[OBJECT]["label"] == ""
    text = (tmp_path / "out/report.html").read_text()
    assert f"channel {CONTEXT} (stripes)" in text and f"channel {OBJECT} (" not in text


@pytest.mark.slow
def test_a_transformer_takes_the_attention_rules_and_says_so(tmp_path):
    """Concepts are channels of a stage; what the rules keep is measured and told."""
    study = write(
        tmp_path / "a",
        model={"source": "factory", "name": "tests.study.lcrp.test_study:segformer"},
        data={"manifest": "set.yaml"},
        composite="attention",
        layer="segformer.stages.3",
        compare=[],
    )
    found = run(study, tmp_path / "out")
    kept = found["notes"]["kept"]
    assert found["notes"]["units"] == 16 and kept["given"] > 0
    assert kept["reached"] / kept["given"] == pytest.approx(1, abs=0.01)
    assert "Rules for transformers are experimental" in (tmp_path / "out/report.html").read_text()


def segformer():
    import transformers

    kinds = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16}
    config = transformers.SegformerConfig(
        num_labels=11, num_channels=1, num_attention_heads=[1, 1, 2, 2], **kinds
    )
    return seeded(lambda: transformers.SegformerForSemanticSegmentation(config))

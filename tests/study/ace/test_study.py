"""ACE through the command, from files to report: on painted scenes and a network wired by hand.

Each scene shows a white square on grey ground, and at the right edge a red or a blue bar, or none.
The network finds the square by its brightness and calls it `red` when the image holds enough red,
else `green`: so `red` uses the red bar, from context, and nothing uses the blue one.
"""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg import catalogue
from conceptseg.engine.store import FOLDER
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from conceptseg.study.ace import report

MISTAKES = ("mistakes", "mistakes erased", "mistakes pictured")

CLASSES = ("ground", "red", "green")
CELL, UNITS = 4, 16
HEIGHT, WIDTH = 32, 40
IMAGES = 20

SMALL = {
    "seed": 2,  # none of its few random directions happens to be that of the red bar
    "scales": [12, 24],
    "min_images": 4,
    "concepts": {"kind": "kmeans", "counts": [4, 5], "draws": 2, "seeds": 2},
    "segments_per_concept": 10,
    "min_auc": 0.6,
    "nulls": 199,
    "calibration": 20,
    "erase_images": 10,
    "null_erasures": 12,
    "outside_pairs": 2,
    "control_images": 8,
    "exemplars": 3,
    "map_images": 8,
    "map_segments": 24,  # fewer than UMAP wants; compiling it takes longer than all the rest
    "picture_px": 64,
}


class BarNet(nn.Module):
    """Excess of red, green and blue in 4 x 4 px cells, of which red is pooled; squares skip it.

    At a pixel of brightness b in an image of mean red excess r: ground 10 (0.6 - b), red
    10 (b - 0.6) + 8 r, green 10 (b - 0.6) + 0.25. `sigmoid`: one map, 10 (b - 0.6) + 8 r - 3.75.
    `poison`: NaN comes out. Of the layer's other units, which amplify noise, nothing is read: in a
    layer of few units a random direction would often be that of the red bar.
    """

    def __init__(self, sigmoid: bool = False, poison: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, UNITS, CELL, CELL), nn.ReLU())
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Conv2d(UNITS + 1, 1 if sigmoid else 3, 1)
        self.poison = poison
        excess = (1.5 * torch.eye(3) - 0.5)[:, :, None, None].expand(-1, -1, CELL, CELL) / CELL**2
        noise = torch.randn(UNITS - 3, 3, CELL, CELL, generator=torch.Generator().manual_seed(0))
        noise = noise - noise.mean((2, 3), keepdim=True)
        reads = torch.zeros(3, UNITS + 1)
        reads[:, -1] = torch.tensor([-10.0, 10.0, 10.0])
        reads[1, 0] = 8.0
        kept = slice(1, 2) if sigmoid else slice(None)
        with torch.no_grad():
            self.body[0].weight.copy_(torch.cat([excess, noise]))
            self.body[0].bias.zero_()
            self.head.weight.copy_(reads[kept, :, None, None])
            self.head.bias.copy_(torch.tensor([-9.75] if sigmoid else [6.0, -6.0, -5.75]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        everywhere = self.pooled(self.body(images)).expand(-1, -1, *images.shape[-2:])
        logits = self.head(torch.cat([everywhere, images.mean(1, keepdim=True)], 1))
        return logits * float("nan") if self.poison else logits


def paint(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene `number`: uint8 [h, w, 3] and its labels [h, w]; even ones are red."""
    rng = np.random.default_rng([7, number])
    pixels = np.full((HEIGHT, WIDTH, 3), 90.0)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = (CELL * int(rng.integers(0, high)) for high in (5, 4))
    pixels[top : top + 12, left : left + 12] = 240
    labels[top : top + 12, left : left + 12] = 1 + number % 2
    if number % 2 == 0:
        pixels[:, -8:] = [210, 30, 30]
    elif number % 3:
        pixels[:, -8:] = [30, 30, 210]
    pixels += rng.normal(0, 6, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8), labels


def write_scenes(folder, images=IMAGES, *, masks=True, names=CLASSES, **manifest):
    """Painted scenes and their manifest `set.yaml` in a folder; returns the study's file."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(images):
        pixels, labels = paint(number)
        Image.fromarray(pixels).save(folder / f"images/s{number:02d}.png")
        if masks:
            Image.fromarray(labels).save(folder / f"masks/s{number:02d}.png")
    pattern = {"images": "images/{id}.png"} | ({"masks": "masks/{id}.png"} if masks else {})
    content = {"name": "painted", "channels": 3, "folders": [pattern], **manifest}
    content["labels"] = {"names": list(names), "background": names[0]}
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    return write_study(folder)


def write_study(folder, name="ace_painted.yaml", **changes):
    """The study's file: the wired network on `set.yaml`, small enough for seconds."""
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.ace.test_study:BarNet"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 4, "shards": 2, "threads": 1},
        **SMALL,
        **changes,
    }
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


def run(capsys, study, out, *words):
    """Run ACE by the command; the saved `result.json`."""
    code = command.main(["ace", "--config", str(study), "--out", str(out), *map(str, words)])
    streams = capsys.readouterr()
    assert code == 0, streams.err
    assert streams.out.splitlines()[-1] == str(Path(out) / "report.html")
    return json.loads(Path(out, "result.json").read_text())


class Page(HTMLParser):
    """Tags, ids and links of a page, and the text between its tags, scripts aside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and (given.get("href") or "").startswith("#"):
            self.links.add(given["href"][1:])

    def handle_data(self, data):
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_scenes(tmp_path / "files")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of one finished run, for tests that only read it."""
    folder = tmp_path_factory.mktemp("finished")
    study = write_scenes(folder / "files")
    out = folder / "out"
    assert command.main(["ace", "-c", str(study), "--out", str(out), "--quiet"]) == 0
    return out


def read(out):
    return json.loads((out / "result.json").read_text())


def test_result_keeps_the_conventions(finished):
    result = read(finished)
    assert result["study"] == "ace"
    kinds = {"findings": list, "tables": dict, "skipped": list, "provenance": dict}
    for key, kind in {**kinds, "timings": dict, "config": dict, "notes": dict}.items():
        assert isinstance(result[key], kind), key
    assert not (finished / FOLDER).exists()
    told = result["provenance"]
    assert told["layer"] == "body" and told["samples"] == IMAGES and told["seed"] == 2
    assert all(re.fullmatch("[0-9a-f]{64}", told[hashed]) for hashed in ("weights", "data"))
    assert torch.__version__.startswith(told["versions"]["torch"])
    names = [one["name"] for one in told["passes"]]
    assert names == [
        "survey",
        "erase",
        "apart",
        *MISTAKES,
        "outside",
        "pictures",
        "control",
        "compare",
    ]
    steps = {
        "warm_map",
        "discover",
        "lay_out_map",
        "assess",
        "tell_apart",
        "judge_mistakes",
        "judge_erased",
        "place_uses",
        "count_control",
        "to_compare",
    }
    assert set(result["timings"]["seconds"]) == {*names, *steps, "finish"}
    for kind in ("pairs", "concepts", "exemplars", "classes", "calibration", "choices", "segments"):
        assert result["tables"][kind]["rows"], kind


def test_findings_are_typed_and_the_strongest_comes_first(finished):
    findings = read(finished)["findings"]
    assert findings
    keys = {"claim", "class", "effect", "ci", "p", "p_adjusted", "n", "evidence"}
    for finding in findings:
        assert keys <= set(finding)
        assert finding["class"] in CLASSES and finding["claim"].endswith(".")
        low, high = finding["ci"]
        assert low <= finding["effect"] <= high < 0
        assert 0 < finding["p"] <= finding["p_adjusted"] <= 0.05
        assert isinstance(finding["n"], int) and finding["n"] > 0
    sizes = [abs(finding["effect"]) for finding in findings]
    assert sizes == sorted(sizes, reverse=True)


def test_the_bar_that_is_read_is_found_and_the_other_is_not(finished):
    """The wired truth: without its red bar no image is `red`; blue may go without a trace."""
    result = read(finished)
    pairs = result["tables"]["pairs"]["rows"]
    red, blue = (bar_concept(result, number) for number in (0, 1))
    found = [(f["class"], f["details"]["concept"]) for f in result["findings"]]
    assert found == [("red", red)]
    assert result["findings"][0]["effect"] == pytest.approx(-1, abs=0.05)
    assert result["findings"][0]["details"]["from_context"]
    lost = {row["class"]: row["loss"] for row in pairs if row["concept"] == blue}
    assert lost == pytest.approx({"red": 0, "green": 0}, abs=1e-6)


def bar_concept(result, parity):
    """The concept whose segments lie on the bars of even (red) or odd (blue) scenes."""
    on_bar: dict[int, list[bool]] = {}
    for row in result["tables"]["exemplars"]["rows"]:
        here = row["left"] >= WIDTH - 10 and int(row["sample"][1:]) % 2 == parity
        on_bar.setdefault(row["concept"], []).append(here)
    (found,) = [concept for concept, hits in on_bar.items() if all(hits)]
    return found


def test_arrays_need_no_pickle(finished):
    result = read(finished)
    with np.load(finished / "arrays.npz", allow_pickle=False) as arrays:
        kept = {key: arrays[key] for key in arrays.files}
    concepts = len(result["tables"]["concepts"]["rows"])
    assert kept["cav"].shape == (concepts, UNITS)
    np.testing.assert_allclose(np.linalg.norm(kept["cav"], axis=1), 1, rtol=1e-5)
    assert kept["map"].shape == (len(result["tables"]["segments"]["rows"]), 2)
    assert kept["null_moves"].shape == (2, concepts, SMALL["nulls"])
    assert not any(array.dtype.hasobject for array in kept.values())


def test_report_shows_the_evidence_of_every_finding(finished):
    page = Page((finished / "report.html").read_text())
    found = read(finished)["findings"]
    assert found and {finding["evidence"] for finding in found} <= page.ids
    # Each finding has its own target there, which leads back to it.
    assert {f"evidence-{number}" for number in range(1, len(found) + 1)} <= page.links
    assert {f"finding-{number}" for number in range(1, len(found) + 1)} <= page.links
    assert page.links <= page.ids
    assert not {"iframe", "object", "embed"} & set(page.tags)


def test_report_is_rendered_again_from_the_saved_result(finished, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "report.html").unlink()
    assert command.main(["report", str(copy)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(copy / "report.html")
    assert (copy / "report.html").read_bytes() == (finished / "report.html").read_bytes()


def test_without_masks_agreement_with_the_own_prediction_counts(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write_scenes(tmp_path / "files", masks=False)
    result = run(capsys, study, "out")
    assert result["notes"]["labelled_images"] == 0 < result["notes"]["erased_images"]
    for row in result["tables"]["classes"]["rows"]:
        assert row["iou"] == 1.0  # a prediction agrees with itself
    assert "no labels" in " ".join(Page(Path("out/report.html").read_text()).text)


def test_images_of_which_only_some_have_masks(capsys, study):
    for number in range(0, IMAGES, 2):
        (study.parent / f"masks/s{number:02d}.png").unlink()
    samples = [
        {"image": f"images/s{n:02d}.png"} | ({"mask": f"masks/s{n:02d}.png"} if n % 2 else {})
        for n in range(IMAGES)
    ]
    manifest = yaml.safe_load((study.parent / "set.yaml").read_text())
    del manifest["folders"]
    manifest["samples"] = samples
    (study.parent / "set.yaml").write_text(yaml.safe_dump(manifest))
    result = run(capsys, study, "out")
    assert result["notes"]["labelled_images"] == IMAGES // 2
    assert result["notes"]["erased_images"] == IMAGES


def test_one_class_alone(capsys, study):
    result = run(capsys, study, "out", "--set", "data.classes=[red]")
    assert {row["class"] for row in result["tables"]["pairs"]["rows"]} == {"red"}
    assert [row["class"] for row in result["tables"]["classes"]["rows"]] == ["red"]
    assert {finding["class"] for finding in result["findings"]} == {"red"}


def test_one_channel_with_a_sigmoid(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_scenes(tmp_path / "files", names=("rest", "red"), masks=False)
    model = {
        "source": "factory",
        "name": "tests.study.ace.test_study:BarNet",
        "arguments": {"sigmoid": True},
        "positive_class": "red",
    }
    study = write_study(tmp_path / "files", model=model)
    result = run(capsys, study, "out")
    assert result["notes"]["classes"] == ["rest", "red"]
    assert {row["class"] for row in result["tables"]["pairs"]["rows"]} == {"red"}
    assert [finding["class"] for finding in result["findings"]] == ["red"]
    assert result["findings"][0]["effect"] == pytest.approx(-1, abs=0.05)


def test_groups_are_what_is_counted(capsys, tmp_path, monkeypatch):
    """Three images of each of nine scenes: with groups, intervals are wider than with images."""
    monkeypatch.chdir(tmp_path)
    study = write_scenes(tmp_path / "files", 27)
    manifest = yaml.safe_load((study.parent / "set.yaml").read_text())
    del manifest["folders"]
    manifest["samples"] = [
        {
            "image": f"images/s{n:02d}.png",
            "mask": f"masks/s{n:02d}.png",
            "group": f"scene {n // 3}",
            "metadata": {"bar": str(bool(n % 3))},
        }
        for n in range(27)
    ]
    (study.parent / "set.yaml").write_text(yaml.safe_dump(manifest))
    grouped = run(capsys, study, "a")
    alone = run(capsys, study, "b", "--set", "unit=image")
    assert (grouped["notes"]["unit"], grouped["notes"]["groups"]) == ("group", 9)
    assert alone["notes"]["unit"] == "image"
    # What is measured is the same; only how sure it is may differ.
    for a, b in zip(*(r["tables"]["pairs"]["rows"] for r in (grouped, alone)), strict=True):
        assert (a["loss"], a["moves"], a["p_moves"]) == (b["loss"], b["moves"], b["p_moves"])
    assert any(
        a["moves_low"] != b["moves_low"]
        for a, b in zip(*(r["tables"]["pairs"]["rows"] for r in (grouped, alone)), strict=True)
    )


def test_a_report_says_that_groups_are_too_few_to_count(capsys, study):
    manifest = yaml.safe_load((study.parent / "set.yaml").read_text())
    manifest["group"] = "(s.)"
    (study.parent / "set.yaml").write_text(yaml.safe_dump(manifest))
    result = run(capsys, study, "out")
    noted = result["notes"]
    assert (noted["unit"], noted["groups"], noted["manifest_groups"]) == ("image", IMAGES, 2)
    assert "from 2 groups" in " ".join(Page(Path("out/report.html").read_text()).text)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{part: boundary, radius_px: 2}", "the band within 2 px of the edge of the pixels"),
        ("{part: largest, reduce: sum}", "sum margin over the largest connected part"),
        ("{region: labelled}", "the pixels labelled as the class"),
        ("{box: [0, 0, 32, 30], score: logprob}", "within rows 0 to 31 and columns 0 to 29"),
    ],
)
def test_other_regions_are_scored_and_named(capsys, study, target, words):
    result = run(capsys, study, "out", "--set", f"target={target}")
    found = [(finding["class"], finding["details"]["concept"]) for finding in result["findings"]]
    assert ("red", bar_concept(result, 0)) in found
    text = " ".join(Page(Path("out/report.html").read_text()).text)
    assert words in text and "refer to the class's predicted region" in text


def test_missed_pixels_of_images_that_have_masks(capsys, study):
    """Where masks call the square of blue scenes red, red is missed; other images are skipped."""
    for number in range(IMAGES):
        mask = study.parent / f"masks/s{number:02d}.png"
        if number % 3 == 0:
            mask.unlink()
        elif number % 2:
            Image.fromarray((paint(number)[1] > 0).astype(np.uint8)).save(mask)
    samples = [
        {"image": f"images/s{n:02d}.png"} | ({"mask": f"masks/s{n:02d}.png"} if n % 3 else {})
        for n in range(IMAGES)
    ]
    manifest = yaml.safe_load((study.parent / "set.yaml").read_text())
    del manifest["folders"]
    manifest["samples"] = samples
    (study.parent / "set.yaml").write_text(yaml.safe_dump(manifest))
    result = run(capsys, study, "out", "--set", "target.region=false_negative")
    assert result["notes"]["images"] == sum(n % 2 and n % 3 > 0 for n in range(IMAGES))
    skipped = {row["sample"]: row["reason"] for row in result["skipped"] if row["kind"] == "sample"}
    for number in range(0, IMAGES, 3):
        assert "no mask" in skipped[f"s{number:02d}"]
    assert {row["class"] for row in result["tables"]["pairs"]["rows"]} == {"red"}
    (green,) = [row for row in result["skipped"] if row["kind"] == "class"]
    assert green["reason"] == "missed in 0 images, fewer than 4"


def test_a_region_that_needs_masks_where_there_are_none(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write_scenes(tmp_path / "files", masks=False)
    words = ["ace", "-c", str(study), "--out", "out", "--set", "target.region=labelled"]
    assert command.main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "target.region 'labelled'" in line and "none of the 20 images" in line


@pytest.mark.parametrize("score", ["logit", "logprob", "probability"])
def test_every_score_sees_the_bar(capsys, study, score):
    result = run(capsys, study, "out", "--set", f"target.score={score}")
    found = [(finding["class"], finding["details"]["concept"]) for finding in result["findings"]]
    assert ("red", bar_concept(result, 0)) in found


def test_segments_cut_out_as_published_see_the_bar(capsys, study):
    result = run(capsys, study, "out", "--set", "embedding=crops")
    assert result["notes"]["embedding"] == "crops"
    found = [(finding["class"], finding["details"]["concept"]) for finding in result["findings"]]
    assert ("red", bar_concept(result, 0)) in found
    text = " ".join(Page(Path("out/report.html").read_text()).text)
    assert "Segments are embedded alone" in text and "embedded in place" not in text
    assert "cropped on grey" in text


@pytest.mark.slow
def test_crops_of_a_few_planted_images(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.yaml").write_text("{format: planted, name: few, n: 40}")
    model = {"source": "planted", "name": "biased"}
    few = {"scales": [9, 16], "min_images": 2, "calibration": 40, "run": {"device": "cpu"}}
    study = write_study(tmp_path, model=model, layer="auto", embedding="crops", **few)
    result = run(capsys, study, "out")
    pairs = result["tables"]["pairs"]["rows"]
    assert pairs and all(0 < row["p_moves"] <= 1 and row["loss"] <= 1 for row in pairs)
    assert any(row["loss"] < -0.05 for row in pairs)
    for row in result["tables"]["concepts"]["rows"]:
        assert -1 <= row["isolation"] <= 1 and row["auc"] >= SMALL["min_auc"]


@pytest.mark.slow
@pytest.mark.parametrize("cav", [name for name in catalogue.names("cavs") if name != "pattern"])
def test_every_learner_of_directions_sees_the_bar(capsys, study, cav):
    words = ["--set", f"cav.kind={cav}", "--set", "nulls=399", "--set", "calibration=0"]
    result = run(capsys, study, "out", *words)
    found = [(finding["class"], finding["details"]["concept"]) for finding in result["findings"]]
    assert ("red", bar_concept(result, 0)) in found


def test_same_command_twice_gives_the_same_result(capsys, study):
    """All of result.json but the timings, and the arrays to the last bit."""
    results = [run(capsys, study, out) for out in ("a", "b")]
    for result in results:
        result.pop("timings")
    assert results[0] == results[1]
    assert Path("a/arrays.npz").read_bytes() == Path("b/arrays.npz").read_bytes()


def test_a_report_without_concepts_says_why_and_what_would_help(finished):
    result = Result.load(finished)
    of_concepts = ("concepts", "pairs", "exemplars", "enrichment")
    empty = {name: dataclasses.replace(result.tables[name], rows=()) for name in of_concepts}
    sparse = {"kind": "cluster", "cluster": 0, "segments": 9, "images": 3, "reason": "in 3 images"}
    crowded = {**sparse, "images": 19, "reason": "held-out AUC 0.61, below 0.75"}
    none = dataclasses.replace(result, findings=(), tables=result.tables | empty)
    few = report.compose(dataclasses.replace(none, skipped=(sparse, sparse, crowded))).lead
    assert "none was kept. 2 of 3 clusters of segments lie in fewer than 4 images" in few
    assert "set min_images lower" in few
    weak = report.compose(dataclasses.replace(none, skipped=(crowded, crowded))).lead
    assert "none was kept. 2 of 2 clusters: held-out AUC 0.61." in weak

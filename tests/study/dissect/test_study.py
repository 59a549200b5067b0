"""Dissection through the command, from files to report, on a network wired by hand.

Scenes show a red, a green and a blue rectangle, each in half of the images. The network's layer
has a unit for each colour, one for red or green, and one that is dead. Its class `crimson` is read
off the red unit and `azure` off the blue one; nothing is read off the green one.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg.engine.store import FOLDER
from conceptseg.report.unit_cards import known_units, load_units
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command

MISTAKES = ("mistakes", "mistakes erased", "mistakes pictured")

CLASSES = ("ground", "crimson", "azure")
HEIGHT, WIDTH = 24, 32
IMAGES = 28
RED, GREEN, BLUE, EITHER, DEAD, BRIGHT = range(6)
COLOURS = ((220, 20, 20), (20, 220, 20), (20, 20, 220))

SMALL = {
    "min_images": 2,
    "pilot_images": 8,
    "textures": 3,
    "permutations": 199,
    "rotations": 1,
    "random_sets": 4,
    "cards": 5,
    "exemplars": 2,
    "quantiles": [0.01, 0.05, 0.1, 0.2],
    "formula_length": 2,
    "picture_px": 64,
    "compare": ["seg_grad_cam"],
}


class ColourNet(nn.Module):
    """`body`: excess of red, green and blue, red or green, nothing, and brightness, at each pixel.

    `poison`: NaN comes out of the layer. `flat`: the layer is pooled to a single value.
    """

    def __init__(self, poison: bool = False, dead: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 6, 1), nn.ReLU())
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Conv2d(6, 3, 1)
        self.poison = poison
        mix = torch.zeros(6, 3)
        mix[:3] = torch.eye(3)
        mix[EITHER] = torch.tensor([1.0, 1.0, 0.0])
        mix[BRIGHT] = 0.3
        reads = torch.zeros(3, 6)
        reads[1, RED] = reads[2, BLUE] = 10.0
        with torch.no_grad():
            excess = (1.5 * torch.eye(3) - 0.5) * (not dead)
            self.body[0].weight.copy_(excess[:, :, None, None])
            self.body[0].bias.fill_(-0.1)
            self.body[2].weight.copy_(mix[:, :, None, None])
            self.body[2].bias.zero_()
            self.head.weight.copy_(reads[:, :, None, None])
            self.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        layer = self.body(images)
        if self.poison:
            layer = layer * float("nan")
        return self.head(layer) + 0 * self.pooled(layer).mean(1, keepdim=True)


def paint(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene `number`: uint8 [h, w, 3], and labels that know nothing of green."""
    rng = np.random.default_rng([3, number])
    pixels = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for colour in range(3):
        if (number >> colour) % 2 == 0:
            left = 10 * colour + int(rng.integers(0, 3))
            top, high = int(rng.integers(0, 10)), int(rng.integers(8, 13))
            place = slice(top, top + high), slice(left, left + int(rng.integers(6, 9)))
            pixels[place] = COLOURS[colour]
            labels[place] = (1, 0, 2)[colour]
    return pixels, labels


def write_scenes(folder, images=IMAGES, *, masks=True):
    """Painted scenes and their manifest in a folder; returns the study's file."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "green").mkdir()
    for number in range(images):
        pixels, labels = paint(number)
        Image.fromarray(pixels).save(folder / f"images/s{number:02d}.png")
        Image.fromarray(labels).save(folder / f"masks/s{number:02d}.png")
        if number % 7:
            green = (pixels == COLOURS[1]).all(2).astype(np.uint8)
            Image.fromarray(green).save(folder / f"green/s{number:02d}.png")
    pattern = {"images": "images/{id}.png"} | ({"masks": "masks/{id}.png"} if masks else {})
    content = {"name": "painted", "channels": 3, "folders": [pattern], "root": "."}
    content["labels"] = {"names": list(CLASSES), "background": CLASSES[0]}
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    return write_study(folder)


def write_study(folder, **changes):
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.dissect.test_study:ColourNet"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 7, "shards": 2, "threads": 1},
        **SMALL,
        **changes,
    }
    path = folder / "dissect_painted.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(study, out, *words):
    """Run the study by the command; the saved `result.json` without its timings."""
    code = command.main(
        ["dissect", "--config", str(study), "--out", str(out), "--quiet", *map(str, words)]
    )
    assert code == 0
    result = json.loads(Path(out, "result.json").read_text())
    result.pop("timings")
    return result


def failing(capsys, study, *words):
    """The one line that the command ends with."""
    code = command.main(["dissect", "--config", str(study), "--out", "bad", *map(str, words)])
    assert code != 0
    return capsys.readouterr().err.strip().splitlines()[-1]


def units(result):
    return {row["unit"]: row for row in result["tables"]["units"]["rows"]}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_scenes(tmp_path / "files")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of one finished run, for tests that only read it."""
    folder = tmp_path_factory.mktemp("finished")
    study = write_scenes(folder / "files")
    run(study, folder / "out", "--set", "published=[netdissect,dissect,bioexp]")
    return folder / "out"


def read(out):
    return json.loads((out / "result.json").read_text())


def test_planted_detectors_are_found_with_a_normalised_iou_of_one(finished):
    found = units(read(finished))
    # Either name is right: the classes are those colours.
    assert found[RED]["label"] in ("red", "crimson")
    assert found[GREEN]["label"] == "green"
    assert found[BLUE]["label"] in ("blue", "azure")
    for unit in (RED, GREEN, BLUE):
        row = found[unit]
        assert row["detector"] and row["p"] == 1 / 200
        assert row["normalised_iou"] == pytest.approx(1, abs=1e-9)
        assert row["auroc"] == pytest.approx(1, abs=1e-9)
        assert row["average_precision"] == pytest.approx(1, abs=1e-9)
        assert row["iou"] > 0.99 and row["overlap"] > 0.99
        assert row["overlap_low"] > 0.99


def test_the_formula_of_the_unit_for_either_is_recovered(finished):
    row = units(read(finished))[EITHER]
    red = {"red", "crimson"}
    assert set(row["formula"].split(" or ")) - red == {"green"}
    assert row["formula_iou"] == pytest.approx(1)
    assert row["single_iou"] < 0.8


def test_a_dead_unit_is_told_and_nothing_is_said_of_it(finished):
    result = read(finished)
    dead = units(result)[DEAD]
    assert dead["state"] == "dead" and not dead["detector"] and dead["label"] is None
    assert {"kind": "unit", "unit": DEAD, "reason": "constant on the pilot's images"} in result[
        "skipped"
    ]
    assert result["notes"]["live"] == 5 and result["notes"]["units"] == 6


def test_what_is_detected_and_what_is_used_are_told_apart(finished):
    """Without the red unit no crimson; green is detected and of no use to anybody."""
    result = read(finished)
    at = {(row["unit"], row["class"]): row for row in result["tables"]["unit_losses"]["rows"]}
    assert at[RED, "crimson"]["change"] == pytest.approx(-1)
    assert at[RED, "azure"]["change"] == at[GREEN, "crimson"]["change"] == 0
    assert at[BLUE, "azure"]["change"] == pytest.approx(-1)
    concepts = {row["concept"]: row for row in result["tables"]["concepts"]["rows"]}
    assert concepts["green"]["detectors"] >= 1 and concepts["green"]["used_by"] == "none"
    (green,) = [one for one in result["findings"] if one["details"]["concept"] == "green"]
    assert "stays open" in green["claim"] and not green["details"]["used"]
    # Green is read off the unit for either as well.
    assert concepts["green"]["read"] > 0.9 and concepts["green"]["rest"] > 0.75
    assert {row["verdict"] for row in result["tables"]["losses"]["rows"]} <= {
        "used",
        "inconclusive",
        "underpowered",
        "below the criterion",
    }


def test_result_keeps_the_conventions(finished):
    result = read(finished)
    assert result["study"] == "dissect"
    assert not (finished / FOLDER).exists()
    names = [one["name"] for one in result["provenance"]["passes"]]
    assert names == [
        "pilot",
        "tally",
        "published",
        "ablate",
        *MISTAKES,
        "pictures",
        "compare",
    ]
    for finding in result["findings"]:
        assert finding["claim"].endswith(".") and finding["class"] in CLASSES
        assert finding["p_adjusted"] is not None and finding["n"] > 0
    with np.load(finished / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["overlap"].shape == (5, len(result["tables"]["concepts"]["rows"]))
        assert arrays["live"].tolist() == [0, 1, 2, 3, 5]
        assert arrays["null"].shape == (199,)


def test_the_published_conventions_are_side_by_side(finished):
    rows = read(finished)["tables"]["published"]["rows"]
    at = {(row["convention"], row["unit"]): row for row in rows}
    assert {convention for convention, _ in at} == {"netdissect", "dissect", "bioexp"}
    # The unit has one value on all of its concept, more than 1 % of pixels, so nothing exceeds it.
    assert at["dissect", GREEN]["score"] == 0 and not at["dissect", GREEN]["detector"]
    assert at["bioexp", GREEN]["label"] == "green"
    assert at["bioexp", GREEN]["detector"] is None


def test_report_shows_the_evidence_and_opens_offline(finished):
    page = (finished / "report.html").read_text()
    ids = set(re.findall(r'id="([^"]+)"', page))
    result = read(finished)
    assert {finding["evidence"] for finding in result["findings"]} <= ids
    assert {f"unit-{unit}" for unit in (RED, GREEN, BLUE)} <= ids
    assert "default-src" in page and not re.search(r"<(script|img)[^>]*https?:", page)


def test_report_is_rendered_again_from_the_saved_result(finished, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "report.html").unlink()
    assert command.main(["report", str(copy)]) == 0
    assert (copy / "report.html").read_bytes() == (finished / "report.html").read_bytes()


def test_other_studies_can_read_what_units_detect(finished):
    from conceptseg.errors import InputError

    result = Result.load(finished)
    known = known_units(result, "body", result.provenance["weights"])
    assert known[GREEN].words == "unit 1 (green)"
    assert known[DEAD].words == "unit 4" and not known[DEAD].label
    assert load_units(finished, "body") == known
    with pytest.raises(InputError, match="units of layer 'body' are known"):
        load_units(finished, "head")
    with pytest.raises(InputError, match="other weights"):
        known_units(result, "body", "0" * 64)
    with pytest.raises(InputError, match="says nothing of units"):
        known_units(Result("ace"), "body")


def test_same_command_twice_gives_the_same_result(study):
    first, second = (run(study, out) for out in ("a", "b"))
    assert first == second
    assert Path("a/arrays.npz").read_bytes() == Path("b/arrays.npz").read_bytes()


@pytest.mark.parametrize(("batch", "shards"), [(1, 4), (7, 1), (32, 1)])
def test_batches_and_shards_change_nothing(finished, tmp_path, monkeypatch, batch, shards):
    monkeypatch.chdir(tmp_path)
    study = write_scenes(tmp_path / "files")
    words = ["--set", f"run.batch_size={batch}", "--set", f"run.shards={shards}"]
    found = run(study, "out", *words, "--set", "published=[netdissect,dissect,bioexp]")
    before = read(finished)
    assert close(found["tables"], before["tables"])
    assert close(found["findings"], before["findings"])


def close(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=1e-5)
    return one == other


def test_a_run_that_was_killed_is_resumed(study, monkeypatch, capsys):
    from conceptseg.study.dissect.ablate import Ablate

    whole = run(study, "whole")
    original = Ablate.finish

    def die(self, *given):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ablate, "finish", die)
    assert command.main(["dissect", "-c", str(study), "--out", "cut", "-q"]) != 0
    monkeypatch.setattr(Ablate, "finish", original)
    capsys.readouterr()
    assert command.main(["dissect", "-c", str(study), "--out", "cut", "-q"]) == 0
    resumed = read(Path("cut"))
    assert resumed["timings"]["resumed_shards"]["tally"] == 2
    resumed.pop("timings")
    for result in (whole, resumed):
        result["provenance"].pop("command")
    assert resumed == whole


def test_masks_of_the_user_of_which_some_are_missing(study):
    result = run(study, "out", "--set", "masks={lawn: 'green/{id}.png'}", "--set", "concepts=[]")
    found = units(result)[GREEN]
    assert (found["label"], found["category"]) == ("lawn", "mask lawn")
    assert found["normalised_iou"] == 1
    missing = {row["sample"] for row in result["skipped"] if row["kind"] == "mask"}
    assert missing == {f"s{n:02d}" for n in range(0, IMAGES, 7)}


def test_without_masks_agreement_with_the_own_prediction_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write_scenes(tmp_path / "files", masks=False)
    result = run(study, "out")
    assert result["notes"]["labelled_images"] == 0
    names = {row["concept"] for row in result["tables"]["concepts"]["rows"]}
    assert "predicted crimson" in names and not any(n.startswith("missed") for n in names)
    assert "no labels" in Path("out/report.html").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["layer=pooled"], "layer 'pooled'"),
        (["model.arguments={poison: true}"], "NaN or infinity for sample"),
        (["model.arguments={dead: true}"], "all 6 units are constant"),
        (["memory_gib=0.0001"], "memory_gib: counting 5 units x 256 bins"),
        (["memory_gib=0.003", "bins=8"], "memory_gib: keeping the maps of 80 images"),
        (["masks={lawn: 'gone/{id}.png'}"], "masks.lawn: no image has a file"),
        (["min_images=50"], "min_images: no concept is seen in 50 images"),
        (["concepts=[context]"], "concepts: the data hold none"),
        (["concepts=[colors]"], "concepts"),
    ],
)
def test_what_cannot_be_used_is_one_line(capsys, study, words, line):
    told = failing(capsys, study, *(part for word in words for part in ("--set", word)))
    assert line in told, told

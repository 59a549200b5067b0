"""SegNBDT through the command, from files to report: on painted patches and a network by hand.

Each scene is a grid of patches in six colours, one class each, in three pairs of similar colours.
The network scores a class by the squared distance to its colour, so its last layer is linear, its
tree is that of the pairs, and noise makes it take a class for its pair's other one.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg.study import __main__ as command
from tests.study.ace.test_study import Page
from tests.study.test_bad_input import one_line

CLASSES = ("road", "pavement", "tree", "grass", "sky", "water")
# No pixel of 8 bits lies halfway between two of them, where rounding would decide.
COLOURS = np.array([
    [0.5031, 0.1043, 0.1017], [0.7013, 0.1009, 0.1051], [0.1023, 0.5047, 0.1037],
    [0.1041, 0.7057, 0.1003], [0.1019, 0.1033, 0.5071], [0.1061, 0.1029, 0.7039],
])  # fmt: skip
PAIRS = {frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5})}
IMAGES, SIDE, PATCH = 16, 24, 8

SMALL = {
    "kept_pixels": 64,
    "random_trees": 39,
    "bootstraps": 10,
    "bins": 6,
    "evidence_images": 6,
    "evidence": [{"kind": "grad_pam", "pixels": 3}],
    "inspected": 2,
    "inspected_side": 12,
    "exemplars": 1,
    "picture_px": 48,
    "steps": 6,
    "step_images": 3,
    "check_every": 2,
}


class PatchNet(nn.Module):
    """Class c scores 40 sharp (2 x . colour_c - |colour_c|^2) at a pixel of colour x."""

    def __init__(self, poison: bool = False, classes: int = 6, sharp: float = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
        self.head = nn.Conv2d(3, classes, 1)
        self.poison = poison
        colours = torch.tensor(COLOURS[:classes], dtype=torch.float32)
        with torch.no_grad():
            self.body[0].weight.copy_(torch.eye(3)[:, :, None, None])
            self.body[0].bias.zero_()
            self.head.weight.copy_(80 * sharp * colours[:, :, None, None])
            self.head.bias.copy_(-40 * sharp * (colours**2).sum(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.body(images))
        return logits * float("nan") if self.poison else logits


class OneMap(nn.Module):
    """One output map: a head that tells two classes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images)


def write(folder, images=IMAGES, masks=True, names=CLASSES, **changes):
    """Painted scenes, their manifest and the study's file."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(images):
        rng = np.random.default_rng([5, number])
        labels = rng.integers(0, len(names), (SIDE // PATCH, SIDE // PATCH))
        labels = labels.repeat(PATCH, 0).repeat(PATCH, 1)
        noise = rng.normal(0, 0.06, (SIDE, SIDE, 3))
        pixels = (255 * (COLOURS[labels] + noise)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/s{number:02d}.png")
        if masks:
            Image.fromarray(labels.astype(np.uint8)).save(folder / f"masks/s{number:02d}.png")
    pattern = {"images": "images/{id}.png"} | ({"masks": "masks/{id}.png"} if masks else {})
    manifest = {"name": "painted", "channels": 3, "folders": [pattern]}
    manifest["labels"] = {"names": list(names)}
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.segnbdt.test_study:PatchNet"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 4, "shards": 2, "threads": 1},
        **SMALL,
        **changes,
    }
    path = folder / "segnbdt_painted.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(capsys, study, out, *words):
    code = command.main(["segnbdt", "--config", str(study), "--out", out, "-q", *words])
    streams = capsys.readouterr()
    assert code == 0, streams.err
    return json.loads((Path(out) / "result.json").read_text())


def rows(result, name):
    return result["tables"][name]["rows"]


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "files")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segnbdt")
    study = write(folder / "files")
    out = folder / "out"
    assert command.main(["segnbdt", "-c", str(study), "--out", str(out), "-q"]) == 0
    return out, json.loads((out / "result.json").read_text())


def groups_of(nested):
    if isinstance(nested, int):
        return {frozenset({nested})}
    below = [groups_of(part) for part in nested]
    return {frozenset().union(*(max(part, key=len) for part in below))}.union(*below)


def test_the_tree_of_the_pairs_is_found(finished):
    _, result = finished
    assert groups_of(result["notes"]["tree"]) >= PAIRS
    support = {row["question"]: row["support"] for row in rows(result, "nodes")}
    assert set(support) >= {"road | pavement", "tree | grass", "sky | water"}


def test_numbers_hang_together(finished):
    _, result = finished
    by = {row["decided_by"]: row for row in rows(result, "fidelity")}
    for row in by.values():
        assert row["change"] == pytest.approx(row["miou"] - by["network"]["miou"])
        assert row["miou_low"] <= row["miou"] <= row["miou_high"]
    assert by["network"]["agreement"] == 1
    assert by["tree, hard"]["agreement"] > result["notes"]["null_mean"]
    assert sum(row["wrong_share"] for row in rows(result, "nodes")) == pytest.approx(1)
    assert sum(row["network"] for row in rows(result, "depths")) == pytest.approx(1)
    pairs = {(row["true_class"], row["decided"]) for row in rows(result, "confusions")[:3]}
    of = {c: next(pair for pair in PAIRS if i in pair) for i, c in enumerate(CLASSES)}
    assert all(of[a] == of[b] for a, b in pairs)  # noise takes a colour for its pair's other one


def test_evidence_and_parts_are_told(finished):
    _, result = finished
    gone = rows(result, "evidence")
    assert np.mean([row["removed"] for row in gone]) < 0 < len(gone)
    for row in rows(result, "parts"):  # a pixel's class depends on no other pixel
        assert row["effect"] == pytest.approx(0, abs=1e-4)


def test_the_report_holds_all_and_is_made_again_without_the_network(finished, capsys):
    out, _ = finished
    text = (out / "report.html").read_text()
    page = Page(text)
    wanted = ("tree", "fidelity", "wrong", "inspect", "nodes", "removal", "calibration", "chance")
    assert set(wanted) <= set(page.ids)
    assert page.links <= set(page.ids)
    assert "data-paths" in text and 'role="application"' in text
    assert command.main(["report", str(out)]) == 0
    capsys.readouterr()
    assert (out / "report.html").read_text() == text


@pytest.mark.slow
def test_the_same_command_twice(capsys, study):
    results = [run(capsys, study, out) for out in ("a", "b")]
    for result in results:
        result.pop("timings")
    assert results[0] == results[1]
    assert Path("a/arrays.npz").read_bytes() == Path("b/arrays.npz").read_bytes()


def alike(a, b, at=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            alike(a[key], b[key], f"{at}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), at
        for i, pair in enumerate(zip(a, b, strict=True)):
            alike(*pair, f"{at}[{i}]")
    elif isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, abs=1e-5, rel=1e-5), at
    else:
        assert a == b, at


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["none", "head"])
def test_neither_batches_nor_shards_matter(capsys, study, tune):
    first = run(capsys, study, "a", "--set", f"tune={tune}")
    for out, size, shards in (("b", 1, 4), ("c", 32, 1)):
        words = ("--set", f"run.batch_size={size}", "--set", f"run.shards={shards}")
        other = run(capsys, study, out, "--set", f"tune={tune}", *words)
        for key in ("tables", "findings", "notes", "skipped"):
            alike(first[key], other[key], key)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["head", "full"])
def test_tuning_lowers_the_loss_and_is_told(capsys, study, kind):
    words = ("--set", f"tune={kind}", "--set", "rate=0.2")
    result = run(capsys, study, "out", *words, "--set", "model.arguments.sharp=0.1")
    history = [row["loss_checked"] for row in rows(result, "tuning")]
    assert min(history) < history[0]
    deciders = [row["decided_by"] for row in rows(result, "fidelity")]
    assert "tuned network" in deciders and "tuned network's tree, hard" in deciders
    assert result["notes"]["images"] == IMAGES // 2
    with np.load("out/arrays.npz") as arrays:
        tuned = [name for name in arrays.files if name.startswith("tuned")]
    assert len(tuned) == (2 if kind == "head" else 4)


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_inside_its_tuning(capsys, study, monkeypatch):
    from conceptseg.study.segnbdt import tune

    whole = run(capsys, study, "a", "--set", "tune=head")
    original, calls = tune.Step.map, []

    def dies(self, context, batch, known):
        calls.append(self.name)
        if self.name == "tune-004":
            raise KeyboardInterrupt
        return original(self, context, batch, known)

    with monkeypatch.context() as patched:
        patched.setattr(tune.Step, "map", dies)
        with pytest.raises(BaseException):  # noqa: B017
            code = command.main(
                ["segnbdt", "-c", str(study), "--out", "b", "-q", "--set", "tune=head"]
            )
            raise SystemExit(code)
    capsys.readouterr()
    again = run(capsys, study, "b", "--set", "tune=head")
    assert again["timings"]["resumed_shards"]["tune-003"] > 0
    for key in ("tables", "findings", "notes"):
        assert whole[key] == again[key]


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", ["confusion", "features"])
def test_other_hierarchies(capsys, study, hierarchy):
    result = run(capsys, study, "out", "--set", f"hierarchy={hierarchy}")
    assert groups_of(result["notes"]["tree"]) >= PAIRS
    assert result["notes"]["images"] == IMAGES // 2  # the other half made the tree


def test_a_tree_of_the_user(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = {"ground": ["road", "pavement", "grass"], "other": ["tree", {"blue": ["sky", "water"]}]}
    study = write(tmp_path / "files", hierarchy="given", tree=tree)
    result = run(capsys, study, "out")
    assert result["notes"]["tree"] == [[0, 1, 3], [2, [4, 5]]]
    names = [row["question"] for row in rows(result, "nodes")]
    assert names[0] == "ground | other" and names[-1] == "blue: sky | water"
    assert result["notes"]["stability"] is None


def test_without_labels_the_network_is_the_reference(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(capsys, write(tmp_path / "files", masks=False), "out")
    assert result["notes"]["labelled"] == 0
    assert all("miou" not in row for row in rows(result, "fidelity"))
    assert all(row["network_wrong_share"] is None for row in rows(result, "nodes"))
    text = " ".join(Page(Path("out/report.html").read_text()).text)
    assert "no labels" in text and "mIoU by" not in text


def refused(capsys, study, *words):
    code = command.main(["segnbdt", "--config", str(study), "--out", "out", *words])
    streams = capsys.readouterr()
    return one_line(code, streams.out, streams.err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hierarchy=given",), "go together"),
        (("hierarchy=given", "tree=[[road, pavement], [tree, grass], sky]"), "'water' comes not"),
        (("hierarchy=given", "tree=[[rode, pavement], [tree, grass], [sky, water]]"), "road"),
        (("tree=[[road, pavement], [tree, grass], [sky, water]]",), "go together"),
        (("head=body.1",), "no convolution or linear layer of 6 outputs"),
        (("evidence=[gradpam]",), "grad_pam"),
        (("names=wordnet",), "nltk"),
        (("dissection=nowhere",), "nowhere"),
        (("model.arguments.poison=true",), "NaN"),
        (("linkage=single",), "ward"),
    ],
)
def test_mistakes_get_one_line(capsys, study, monkeypatch, words, message):
    monkeypatch.setitem(__import__("sys").modules, "nltk", None)
    settings = [part for word in words for part in ("--set", word)]
    assert message in refused(capsys, study, *settings)


def test_heads_without_a_tree_are_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two = {"source": "factory", "name": "tests.study.segnbdt.test_study:OneMap"}
    study = write(tmp_path / "a", names=CLASSES[:2], model=two, layer="head")
    assert "one channel" in refused(capsys, study)
    three = {**two, "name": "tests.study.segnbdt.test_study:PatchNet", "arguments": {"classes": 3}}
    study = write(tmp_path / "b", names=CLASSES[:3], model=three)
    assert "3 classes apart" in refused(capsys, study)


def test_tuning_needs_labels(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write(tmp_path / "files", masks=False)
    assert "needs labels" in refused(capsys, study, "--set", "tune=head")

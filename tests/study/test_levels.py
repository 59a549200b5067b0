"""Several layers studied as one: each of two concepts lives on a level of its own.

`tests.network.nets.skips` wires the network: red squares are read on the fine level, green ones on
the coarse one, and both meet at the scores. Whoever looks at one level misses the other's concept.
"""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from conceptseg.study import __main__ as command
from tests.network.nets.skips import scenes

CLASSES = ("ground", "red", "green")
NETS = "tests.network.nets.skips:Skips"
SMALL = {
    "ace": {
        "scales": [12, 24],
        "masks": {"a red square": "red/{id}.png", "a green square": "green/{id}.png"},
        "min_images": 4,
        "concepts": {"kind": "kmeans", "counts": [4, 5], "draws": 2, "seeds": 2},
        "segments_per_concept": 10,
        "min_auc": 0.6,
        "nulls": 999,
        "calibration": 20,
        "erase_images": 12,
        "null_erasures": 10,
        "outside_pairs": 0,
        "control_images": 8,
        "exemplars": 3,
        "map_images": 8,
        "map_segments": 24,
        "picture_px": 64,
        "compare": [],
    },
    "dissect": {
        "concepts": ["classes"],
        "quantiles": [0.05, 0.1],
        "bins": 64,
        "permutations": 199,
        "rotations": 0,
        "ablate_images": 12,
        "random_sets": 10,
        "cards": 3,
        "exemplars": 1,
        "compare": [],
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with painted scenes and their manifest."""
    folder = tmp_path_factory.mktemp("skips")
    for name in ("images", "masks", *CLASSES[1:]):
        (folder / name).mkdir()
    images, labels = scenes(24)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"images/s{i:02d}.png")
        Image.fromarray(label.byte().numpy()).save(folder / f"masks/s{i:02d}.png")
        for c in (1, 2):
            Image.fromarray((label == c).byte().numpy()).save(folder / CLASSES[c] / f"s{i:02d}.png")
    content = {
        "name": "skips",
        "channels": 3,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": list(CLASSES), "background": CLASSES[0]},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    return folder


def write(files, study, arguments=None, **keys):
    content = {
        "data": {"manifest": str(files / "set.yaml")},
        "model": {
            "source": "factory",
            "name": NETS,
            "arguments": {"units": 16, **(arguments or {})},
        },
        "run": {"device": "cpu", "batch_size": 8, "threads": 1},
        "seed": 1,
        **SMALL.get(study, {}),
        **keys,
    }
    path = files / f"{study}_{len(list(files.iterdir()))}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(files, study, **keys):
    path = write(files, study, **keys)
    out = path.with_suffix("")
    assert command.main([study, "--config", str(path), "--out", str(out), "-q"]) == 0
    return json.loads(Path(out, "result.json").read_text())


def lost(result):
    """Of each class but the ground, the largest loss of IoU by what it was found to use."""
    found: dict[str, float] = {}
    for one in result["findings"]:
        if one["class"] != CLASSES[0]:
            found[one["class"]] = min(found.get(one["class"], 0.0), one["effect"])
    return found


@pytest.mark.slow
def test_dissection_finds_both_concepts_where_one_layer_misses_one(files):
    """Without a square's units its class is gone: all of its IoU, as the wiring says."""
    single = run(files, "dissect", layer="auto")
    assert single["notes"]["layer"] == "deep" and lost(single) == {"green": -1.0}
    both = run(files, "dissect", layers="auto")
    assert both["notes"]["layer"] == "fine + deep"
    assert lost(both) == {"red": -1.0, "green": -1.0}
    detectors = {
        row["unit"]: row["label"] for row in both["tables"]["units"]["rows"] if row["detector"]
    }
    wanted = {f"fine:{u}": "red" for u in range(4)} | {f"deep:{u}": "green" for u in range(4)}
    assert detectors == wanted
    kept = both["provenance"]["worth"]
    assert kept["levels"] == ["fine", "deep"] and kept["auto"] == "deep"


def drawn(result):
    """Loss of IoU by erasing each square that was drawn as a concept, and whether it is used."""
    names = {row["concept"]: row["given"] for row in result["tables"]["concepts"]["rows"]}
    return {
        (row["class"], names[row["concept"]]): (row["loss"], row["used"])
        for row in result["tables"]["pairs"]["rows"]
        if names[row["concept"]]
    }


@pytest.mark.slow
def test_ace_finds_both_concepts_where_one_layer_misses_one(files):
    """Erasing a square from both levels takes all of its class's IoU, and none of the other's."""
    single = drawn(run(files, "ace", layer="auto"))
    assert single["green", "a green square"] == (-1.0, True)
    assert single.get(("red", "a red square"), (0.0, False)) == (0.0, False)
    both = drawn(run(files, "ace", layers="auto"))
    assert both["red", "a red square"] == both["green", "a green square"] == (-1.0, True)
    assert both["red", "a green square"] == both["green", "a red square"] == (0.0, False)


@pytest.mark.slow
def test_a_layer_beside_its_own_copy_changes_no_finding(files):
    """The copy is what the scores read: erasing both is erasing the layer."""
    net = {"arguments": {"again": True}}
    alone = run(files, "ace", layer="fine", **net)
    both = run(files, "ace", layers=["fine", "again"], **net)
    assert [f["claim"] for f in alone["findings"]] == [f["claim"] for f in both["findings"]]
    assert drawn(alone) == drawn(both) and drawn(alone)["red", "a red square"][0] == -1.0
    for one, other in zip(*(r["tables"]["pairs"]["rows"] for r in (alone, both)), strict=True):
        for key in ("loss", "null_loss", "moves", "p_moves", "p_loss", "tcav"):
            assert one[key] == pytest.approx(other[key], abs=1e-4), key


@pytest.mark.slow
def test_a_named_pair_is_what_auto_takes(files):
    auto, named = (run(files, "dissect", layers=one) for one in ("auto", ["fine", "deep"]))
    assert auto["findings"] == named["findings"]


@pytest.mark.parametrize(
    ("study", "keys", "said"),
    [
        ("dissect", {"layer": "deep", "layers": "auto"}, "name one layer by layer, or several by"),
        ("ace", {"layers": []}, "layers names no layer"),
        ("ace", {"layers": ["fine", "fine"]}, "'fine' is named twice"),
        ("ace", {"layers": ["fine", "dep"]}, "layer 'dep' does not exist"),
        ("bottleneck", {"layers": "auto"}, "looks at one layer"),
        ("lcrp", {"layers": ["fine", "deep"]}, "several are read by ability, ace, dissect"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(files, capsys, study, keys, said):
    path = write(files, study, **keys)
    for verb in ([study], ["check"]):
        words = [*verb, "--config", str(path)]
        words += ["--out", str(files / "bad")] if verb == [study] else []
        assert command.main(words) == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error
    assert not (files / "bad").exists()


def test_check_says_that_one_layer_does_not_carry_it(files, capsys):
    path = write(files, "dissect")
    assert command.main(["check", "--config", str(path)]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "no single layer carries the decision: fine + deep" in words.replace("│", "")
    assert command.main(["layers", "--config", str(path)]) == 0
    assert "layers: auto takes fine + deep, worth 1.00" in capsys.readouterr().out

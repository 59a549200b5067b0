"""The bottleneck study through the command, on squares of which a network misses the dim ones."""

import json

import numpy as np
import pytest
import yaml

from conceptseg.study import __main__ as command
from conceptseg.study.bottleneck.predictor import Predictor
from tests.study import dim

SMALL = {
    "regressors": ["ridge", "neighbours"],
    "components": 5,
    "folds": 3,
    "inner": 2,
    "repeats": 1,
    "min_images": 10,
    "min_slice": 4,
    "slices": 3,
    "map_seeds": 1,
    "map_images": 40,
    "shift_images": 6,
    "compare": ["seg_grad_cam"],
}


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bottleneck")
    path = dim.write(folder / "files", "bottleneck", **SMALL)
    assert dim.run("bottleneck", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_quality_is_predicted_from_the_layer(finished):
    _, _, result, _ = finished
    rows = {row["told_from"]: row for row in result["tables"]["standing"]["rows"]}
    assert rows["layer"]["r2"] > 0.5 and rows["layer"]["gain_low"] > 0
    assert {f["evidence"] for f in result["findings"]} >= {"standing-table", "flag-curve"}
    for finding in result["findings"]:
        assert finding["n"] > 0 and finding["p_adjusted"] >= finding["p"]


def test_true_quality_is_the_overlap_counted_by_hand(finished):
    _, _, result, _ = finished
    from conceptseg.planted.measure import image_iou

    for row in result["tables"]["images"]["rows"][:8]:
        pixels, labels = dim.paint(int(row["sample"].partition("_s")[2]))
        bright = (pixels.astype(float) / 255).mean(2) > 0.601
        expected = image_iou(bright.astype(np.uint8)[None], labels[None], 1)[0]
        assert row["true"] == pytest.approx(expected, abs=0.02)


def test_images_without_a_square_are_a_task_of_their_own(finished):
    _, _, result, _ = finished
    (row,) = result["tables"]["presence"]["rows"]
    assert (row["present"], row["absent"]) == (36, 6)
    assert len(result["tables"]["images"]["rows"]) == 36
    assert {entry["reason"] for entry in result["skipped"]} == {
        "holds no studied class: no overlap is defined"
    }


def test_report_says_it_and_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    for text in ("Quality without ground truth", "Finding failures", "Map of the images"):
        assert text in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, result, arrays = finished
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=32", "run.shards=1"]):
        out = tmp_path / words[0]
        assert dim.run("bottleneck", path, out, *[w for x in words for w in ("--set", x)]) == 0
        other, own = read(out)
        for name in arrays:
            if arrays[name].dtype.kind == "f" and name.partition("-")[0] != "map":
                # Points of the gates are divided by spreads of down to the root of 0.001.
                grown = 1e-3**-0.5 if name.endswith("-known") else 1.0
                np.testing.assert_allclose(own[name], arrays[name], rtol=1e-5, atol=1e-5 * grown)
        for mine, theirs in zip(
            other["tables"]["images"]["rows"], result["tables"]["images"]["rows"], strict=True
        ):
            assert mine["sample"] == theirs["sample"]
            assert mine["predicted"] == pytest.approx(theirs["predicted"], abs=1e-5)


def test_same_command_twice_gives_the_same_result(finished, tmp_path):
    path, out, result, _ = finished
    assert dim.run("bottleneck", path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    told = {key: value for key, value in result.items() if key not in ("timings", "provenance")}
    assert {key: again[key] for key in told} == told
    assert (tmp_path / "again/arrays.npz").read_bytes() == (out / "arrays.npz").read_bytes()


def test_new_images_are_scored_without_labels(finished, tmp_path, capsys):
    path, out, result, arrays = finished
    csv = tmp_path / "new.csv"
    code = command.main(["predict-quality", str(out), "-c", str(path), "--out", str(csv)])
    assert code == 0, capsys.readouterr().err
    lines = [line.split(",") for line in csv.read_text().splitlines()]
    assert lines[0] == ["sample", "quality", "low", "high", "distance", "known_kind", "review"]
    found = {line[0]: float(line[1]) for line in lines[1:]}
    assert len(found) == 42
    predictor = Predictor.from_arrays(arrays)
    ids = sorted(row["sample"] for row in result["tables"]["images"]["rows"])
    confidence = arrays["confidence"]
    scored = predictor.score(arrays["pooled"], confidence, confidence[:, 4])
    np.testing.assert_allclose([found[name] for name in ids], scored.quality, rtol=1e-4)


def test_all_images_are_scored_and_no_mask_need_be_there(finished, tmp_path, monkeypatch, capsys):
    from conceptseg.study.bottleneck.config import Bottleneck

    _, out, _, _ = finished
    new = dim.write(tmp_path / "new", "bottleneck", 6)
    names = [one.name for one in sorted((tmp_path / "new/images").iterdir())]
    rows = "".join(f"images/{name},masks/{name}\n" for name in names)
    (tmp_path / "new/rows.csv").write_text("image,mask\n" + rows)
    for name in names:
        (tmp_path / "new/masks" / name).unlink()
    content = yaml.safe_load((tmp_path / "new/set.yaml").read_text())
    del content["folders"], content["group"]
    content["table"] = {"file": "rows.csv"}
    (tmp_path / "new/set.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(Bottleneck, "most_images", 4)
    (tmp_path / "new.csv.parts").mkdir()
    (tmp_path / "new.csv.parts/mine").touch()
    words = ["predict-quality", str(out), "-c", str(new), "--out", str(tmp_path / "new.csv")]
    assert command.main(words) == 0, capsys.readouterr().err
    assert len((tmp_path / "new.csv").read_text().splitlines()) == 7
    assert [one.name for one in (tmp_path / "new.csv.parts").iterdir()] == ["mine"]


def test_scoring_that_broke_off_goes_on(finished, tmp_path, monkeypatch):
    from conceptseg.study.bottleneck import apply

    path, out, _, _ = finished
    words = ["predict-quality", str(out), "-c", str(path), "--set", "run.shards=6", "--out"]
    assert command.main([*words, str(tmp_path / "whole.csv")]) == 0
    score, images = apply.Score.map, []

    def counted(self, context, batch, known):
        if len(images) > 20 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        images.extend(batch.ids)
        return score(self, context, batch, known)

    monkeypatch.setattr(apply.Score, "map", counted)
    assert command.main([*words, str(tmp_path / "cut.csv")]) == 130
    assert not (tmp_path / "cut.csv").exists()
    (tmp_path / "again").touch()
    kept = len(images)
    assert command.main([*words, str(tmp_path / "cut.csv")]) == 0
    assert len(images) < 42 + kept
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_a_predictor_is_refused_for_another_network(finished, capsys):
    path, out, _, _ = finished
    other = ["--set", "model.preprocessing.mean=[0.1,0.1,0.1]"]
    assert command.main(["predict-quality", str(out), "-c", str(path), *other]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "made for other weights" in error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": 0}, "none of the 42 images has a mask"),
        ({"masks": 6}, "6 images hold a studied class"),
        ({"brightness": 0.95}, "there is nothing to predict"),
        ({"groups": 42}, "of only 1 groups, and a group must not be cut"),
        ({"groups": 21}, "of only 2 groups"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, changes, words):
    path = dim.write(tmp_path / "files", "bottleneck", **{**SMALL, **changes})
    assert dim.run("bottleneck", path, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error
    assert not (tmp_path / "out/result.json").exists()

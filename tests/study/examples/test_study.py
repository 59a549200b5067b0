"""The examples study through the command, and on the planted network that leans on brick."""

import json

import numpy as np
import pytest
import yaml

from conceptseg.study import __main__ as command
from tests.study import dim

SMALL = {
    "min_share": 0.02,
    "min_objects": 8,
    "prototypes": 2,
    "criticisms": 1,
    "cases": 1,
    "compare": ["seg_grad_cam"],
}


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    path = dim.write(folder / "files", "examples", 42, regions="labelled", **SMALL)
    assert dim.run("examples", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_dim_squares_are_the_wrong_ones_and_their_neighbours_say_so(finished):
    _, _, result, arrays = finished
    rows = {row["class"]: row for row in result["tables"]["foretell"]["rows"]}
    assert rows["square"]["right"] + rows["square"]["wrong"] == 36  # every seventh scene has none
    assert rows["square"]["nearness"] > 0.8
    assert np.isfinite(arrays["right"]).all()
    held = {row["kind"]: row for row in result["tables"]["standing"]["rows"]}
    assert set(held) == {"prototype", "criticism"}


def test_shares_of_prototypes_are_all_of_the_class(finished):
    rows = finished[2]["tables"]["standing"]["rows"]
    assert sum(row["share"] for row in rows if row["kind"] == "prototype") == pytest.approx(1)


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "The objects that stand for a class" in before and "foretell errors?" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, _, arrays = finished
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=7", "run.shards=1"]):
        out = tmp_path / words[0]
        assert dim.run("examples", path, out, *[w for x in words for w in ("--set", x)]) == 0
        _, own = read(out)
        for name, array in arrays.items():
            np.testing.assert_allclose(own[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_same_command_twice_gives_the_same_result(finished, tmp_path):
    path, _, result, _ = finished
    assert dim.run("examples", path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    for key in ("findings", "tables", "notes", "skipped", "files"):
        assert again[key] == result[key], key


def test_without_masks_there_are_prototypes_and_no_outcomes(tmp_path):
    path = dim.write(tmp_path / "files", "examples", 24, masks=0, **SMALL)
    assert dim.run("examples", path, tmp_path / "out") == 0
    result, _ = read(tmp_path / "out")
    rows = result["tables"]["standing"]["rows"]
    assert rows and all(row["outcome"] == "not labelled" for row in rows)
    assert result["findings"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_objects": 40}, "no class has 40 objects ('square' has the most"),
        ({"weights": {"colour": 1}}, "'colour' is not among embedding, shape, place"),
        ({"weights": {"place": -1}}, "place: -1.0 is no weight"),
        ({"weights": {"place": 0}}, "all are 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, changes, words):
    path = dim.write(tmp_path / "files", "examples", 21, **{**SMALL, **changes})
    assert dim.run("examples", path, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error


@pytest.mark.parametrize(("name", "leans"), [("biased", True), ("clean", False)])
def test_the_two_strategies_get_a_prototype_each(tmp_path, name, leans):
    """Labelled 3s with the brick are called 3 and those without 9, by the network that leans.

    The one that does not has no two ways to a 3: its prototypes do not tell brick.
    """
    (tmp_path / "set.yaml").write_text(
        yaml.safe_dump({"format": "planted", "n": 120, "seed": 1, "context": "balanced",
                        "pair_share": 1.0, "digits": [3, 9]})
    )  # fmt: skip
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "planted", "name": name},
        "run": {"batch_size": 16, "device": "cpu"},
        "layer": "decoder.0",
        "regions": "labelled",
        "prototypes": 2,
        "compare": [],
    }
    path = tmp_path / "examples.yaml"
    path.write_text(yaml.safe_dump(content))
    assert command.main(["examples", "-c", str(path), "--out", str(tmp_path / "o"), "-q"]) == 0
    result, _ = read(tmp_path / "o")
    rows = [row for row in result["tables"]["standing"]["rows"] if row["kind"] == "prototype"]
    for digit in ("digit 3", "digit 9"):
        mine = [row for row in rows if row["class"] == digit]
        if leans:
            assert sorted(row["wrong"] < 0.1 for row in mine) == [False, True]
            assert sorted(row["wrong"] > 0.9 for row in mine) == [False, True]
            assert sorted(row["outcome"] for row in mine) == ["right", "wrong"]
        else:
            assert all(row["wrong"] < 0.1 for row in mine)
    claims = [one for one in result["findings"] if one["by"] == "test"]
    assert bool(claims) == leans

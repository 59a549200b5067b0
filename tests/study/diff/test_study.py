"""The diff study through the command, on networks whose difference is known."""

import json
import re

import numpy as np
import pytest
import yaml

from conceptseg.errors import EXIT_FOUND, EXIT_INPUT
from conceptseg.study import __main__ as command
from tests.strange_models import write_scenes

IMAGES = 30
SMALL = {
    "finder": {"kind": "nmf", "counts": [4]},
    "recover_images": 6,
    "erase_images": 30,
    "gallery": 1,
    "cards": 4,
    "compare": ["seg_grad_cam"],
}


def network(**arguments):
    name = "tests.study.diff.wired:Wired"
    return {"source": "factory", "name": name, "arguments": arguments}


def write(folder, **other):
    """A study's file on scenes of three classes; groups of two images count by images."""
    content = {
        "data": {"manifest": str(write_scenes(folder / "scenes", IMAGES))},
        "model": network(),
        "other": network(**other),
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 5},
        "unit": "image",
        **SMALL,
    }
    path = folder / "diff.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(path, out, *words):
    return command.main(["diff", "-c", str(path), "--out", str(out), "-q", *words])


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """The other network lacks the channel of azure."""
    folder = tmp_path_factory.mktemp("diff")
    path = write(folder, gone=1)
    assert run(path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_of_permuted_channels_nothing_changes(tmp_path):
    path = write(tmp_path, order=[2, 0, 3, 1])
    assert run(path, tmp_path / "out", "--fail-on", "drift") == 0
    result, arrays = read(tmp_path / "out")
    assert result["findings"] == [] and result["verdict"]["status"] == "none shown"
    for name in ("classes", "shifts"):
        assert all(
            row["change"] == 0 and row["drift"] == 0 for row in result["tables"][name]["rows"]
        )
    rows = result["tables"]["units"]["rows"]
    assert [row["partner"] for row in rows] == [1, 3, 0, 2]
    assert all(row["correlation"] == pytest.approx(1) for row in rows)
    assert result["notes"]["cka"] == pytest.approx(1)
    assert arrays["lengths"][0] == pytest.approx(arrays["lengths"][1], abs=1e-4)


def test_one_concept_that_is_gone_is_exactly_what_is_found(lacking):
    _, _, result, arrays = lacking
    concepts = {f["details"]["concept"] for f in result["findings"] if "concept" in f["details"]}
    (number,) = concepts
    rows = {row["concept"]: row for row in result["tables"]["concepts"]["rows"]}
    assert rows[number]["name_before"] == "azure"
    # What else lies where azure does, the brightness, stays in the other network's atom.
    weights = {q: row["weight"] for q, row in rows.items()}
    assert min(weights, key=weights.__getitem__) == number and weights[number] < 0.4
    classes = {f["class"] for f in result["findings"] if f["evidence"] == "classes"}
    assert classes == {"azure"}
    shift = next(
        row
        for row in result["tables"]["shifts"]["rows"]
        if row["concept"] == number and row["class"] == "azure"
    )
    assert shift["before"] < -0.7 and shift["after"] == 0 and shift["shown"]
    assert result["verdict"]["status"] == "concern"


def test_the_gate_opens_by_its_own_word(lacking, tmp_path):
    assert run(lacking[0], tmp_path / "out", "--fail-on", "drift") == EXIT_FOUND
    assert run(lacking[0], tmp_path / "out", "--fail-on", "drifted") == 2


def test_what_seeds_do_as_well_is_no_drift(lacking, tmp_path):
    """Of the same change between two trainings alike nothing is left to tell."""
    path = tmp_path / "diff.yaml"
    content = yaml.safe_load(lacking[0].read_text())
    path.write_text(yaml.safe_dump({**content, "seeds": [network(gone=1), network()]}))
    assert run(path, tmp_path / "out") == 0
    result, _ = read(tmp_path / "out")
    rows = {row["class"]: row for row in result["tables"]["classes"]["rows"]}
    assert rows["azure"]["change"] < -0.7
    # The root mean square over three classes and two seeds, of which one changes one of them.
    assert rows["azure"]["drift"] == pytest.approx(-np.sqrt(6), rel=0.02)
    assert abs(rows["crimson"]["drift"]) < 0.01


def test_report_is_rendered_again_without_the_model(lacking):
    out = lacking[1]
    before = (out / "report.html").read_text()
    assert "What classes owe to concepts" in before and "What either predicts" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(lacking, tmp_path):
    path, _, _, arrays = lacking
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=7", "run.shards=1"]):
        out = tmp_path / words[0]
        assert run(path, out, *[w for x in words for w in ("--set", x)]) == 0
        _, own = read(out)
        for name, array in arrays.items():
            np.testing.assert_allclose(own[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_same_command_twice_gives_the_same_result(lacking, tmp_path):
    path, _, result, _ = lacking
    assert run(path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    for key in ("findings", "tables", "notes", "skipped", "files"):
        assert again[key] == result[key], key


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["other.arguments={stride: 4}"], "other: its layer 'body' is a map of 6 x 8"),
        (["other.classes=[a, b, c, d]"], r"other: its classes \(a, b, c, d\) are not those of"),
        (["other_layer=boddy"], "other: .*'boddy'.*; name the other network's by other_layer"),
        (["seeds=[{source: planted, name: biassed}]"], "biassed"),
        (["finder.counts=[90000]"], "positions are too few for 90000 concepts"),
    ],
)
def test_bad_input_is_refused_in_one_line(lacking, tmp_path, capsys, words, said):
    sets = [w for x in words for w in ("--set", x)]
    assert run(lacking[0], tmp_path / "out", *sets) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and re.search(said, lines[0])


def test_without_another_network_there_is_nothing_to_compare(lacking, tmp_path, capsys):
    content = yaml.safe_load(lacking[0].read_text())
    path = tmp_path / "diff.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if k != "other"}))
    assert run(path, tmp_path / "out") == 2
    assert "other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tests.study.diff.wired:Unwired", r"error: other\.name.*Unwired"),
        ("nowhere", r"error: other\.name.*nowhere"),
    ],
)
def test_what_is_wrong_with_the_other_network_is_told_of_its_key(tmp_path, capfd, name, said):
    path = write(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["other"]["name"] = name
    path.write_text(yaml.safe_dump(content))
    assert run(path, tmp_path / "out") == EXIT_INPUT
    assert re.search(said, capfd.readouterr().err)

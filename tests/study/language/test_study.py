"""The language study through the command, of squares that are dim or bright."""

import json
from dataclasses import replace

import numpy as np
import pytest

from conceptseg import catalogue
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from conceptseg.study.language.report import explorer
from tests.study import dim

SMALL = {
    "min_objects": 20,
    "min_share": 0.02,
    "seeds": 2,
    "steps": 40,
    "words": 2,
    "vocabulary": 4,
    "exemplars": 1,
    "compare": ["seg_grad_cam"],
}


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    path = dim.write(folder / "files", "language", 42, **SMALL)
    assert dim.run("language", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_every_code_stands_beside_the_language(finished):
    _, _, result, arrays = finished
    codes = {row["code"]: row for row in result["tables"]["codes"]["rows"]}
    assert set(codes) == {"language", "k-means, one word", "k-means, all bits", "product code"}
    assert all(0 <= row["dice"] <= 1 for row in codes.values())
    assert 0 < arrays["judging"].sum() < len(arrays["words"]) and arrays["words"].max() < 4
    groups = [name.split("_")[0] for name in result["notes"]["image_ids"]]
    judges = {g for g, own in zip(groups, arrays["judging"], strict=True) if own}
    assert not judges & {g for g, own in zip(groups, arrays["judging"], strict=True) if not own}


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "The dictionary" in before and "Exchange a word" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_findings_show_objects_of_each_symbol(finished):
    result = Result.load(finished[1])
    shown = catalogue.load("study", "language").report(result).illustrate
    codes, masks = (
        next(one for one in result.findings if one.evidence == name) for name in ("codes", "masks")
    )
    words = result.tables["words"].rows
    assert {one.key for one in shown(codes, ())} == {row["pictures"][0] for row in words}
    second = codes.model_copy(update={"evidence": "attributes", "details": {"place": 2}})
    own = [row["pictures"][0] for row in words if row["place"] == 2]
    assert sorted(one.key for one in shown(second, ())) == sorted(own) and own
    objects = list(dict.fromkeys(row["object"] for row in result.tables["explored"].rows))
    keys = [one.key for one in shown(masks, ())]
    assert keys[::2] == [f"object-{row}" for row in objects]
    said = finished[3]["words"]
    assert keys[1::2] == [f"heard-{row}-0-{said[row, 0]}" for row in objects]
    assert set(keys) <= set(result.images)


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, result, arrays = finished
    words = ["--set", "run.batch_size=3", "--set", "run.shards=5"]
    assert dim.run("language", path, tmp_path / "out", *words) == 0
    again, own = read(tmp_path / "out")
    for name, array in arrays.items():
        assert np.mean(own[name] == array) > 0.95, name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "min_objects=900"], "objects are predicted, and a language needs 900"),
        (["--set", "vocabulary=1"], "vocabulary"),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, tmp_path, capsys, words, said):
    assert dim.run("language", finished[0], tmp_path / "out", *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


def test_objects_of_one_image_are_explored_apart(finished, tmp_path):
    """One row of pictures for each place of each object, also where two lie in one image."""
    result = Result.load(finished[1])
    rows = [dict(row) for row in result.tables["explored"].rows]
    second = [{**row, "object": row["object"] + 1} for row in rows]
    table = replace(result.tables["explored"], rows=rows + second)
    both = replace(result, tables={**result.tables, "explored": table})
    blocks = explorer(both).blocks
    assert len(blocks) == 2 * len({row["object"] for row in rows})
    assert all(len(cells) == len(block.columns) for block in blocks for _, cells in block.rows)

"""The verb that makes a test set of an audit: what it replaces, and what it refuses."""

import shutil

import pytest

from conceptseg.result.saved import Result
from tests.study.audit.exported import exported, finish, table
from tests.study.test_bad_input import one_line


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("export"))


def test_it_is_replaced_and_nothing_else_is(finished, tmp_path, capsys):
    out = tmp_path / "set"
    assert exported(finished, out, "--images", "2") == 0
    (out / "notes.txt").write_text("mine")
    assert exported(finished, out, "--images", "1") == 0
    assert len(list((out / "images").iterdir())) == len(table(out)) == 8
    assert (out / "notes.txt").read_text() == "mine"
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    capsys.readouterr()
    code = exported(finished, mine)
    streams = capsys.readouterr()
    assert "holds 'images' but no reliances.yaml" in one_line(code, streams.out, streams.err)


def test_what_it_cannot_be_made_of(finished, tmp_path, capsys):
    def refused(folder, *words):
        code = exported(folder, tmp_path / "set", *words)
        streams = capsys.readouterr()
        return one_line(code, streams.out, streams.err)

    assert "of a network with other weights" in refused(
        finished, "--set", "model.name=constructed-0.5"
    )
    assert "has no sample" in refused(finished, "--set", "data.manifest=builtin:planted")
    result = Result.load(finished / "out")
    for name, changed, words in (
        ("none", {"composites": result.tables["composites"].where(lambda row: False)}, "shows no"),
        ("old", {"composites": None}, "no result of this version's audit"),
    ):
        copy = tmp_path / name
        shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("out"))
        tables = {**result.tables, **changed}
        tables = {key: one for key, one in tables.items() if one is not None}
        Result("audit", tables=tables, provenance=result.provenance, notes=result.notes).save(
            copy / "out"
        )
        assert words in refused(copy)


def test_images_that_are_no_longer_those_of_the_run(finished, tmp_path, capsys):
    """The masks are the same and the ids; what is seen is not."""
    result, copy = Result.load(finished / "out"), tmp_path / "copy"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("out"))
    for row in result.tables["composites"].rows:
        row["iou"] = 1 - row["iou"]
    result.save(copy / "out")
    code = exported(copy, tmp_path / "set")
    streams = capsys.readouterr()
    assert "images or masks are not those of the run" in one_line(code, streams.out, streams.err)
    assert not (tmp_path / "set").exists()

"""`conceptseg all`: one file's data and network for every study, cheapest first, and one page."""

from pathlib import Path

import pytest
import yaml

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.study import __main__ as command
from conceptseg.study.command.verbs import all as verb
from tests.study import toy_command


@pytest.fixture
def study(monkeypatch, tmp_path):
    for name in ("names", "load", "entry"):
        monkeypatch.setattr(catalogue, name, getattr(catalogue, name))
    monkeypatch.setattr(command.app, "registered_commands", list(command.app.registered_commands))
    toy_command.register()
    monkeypatch.chdir(tmp_path)
    return toy_command.write_files(tmp_path / "files")


def test_a_study_is_run_from_the_shared_keys_and_indexed(study, capsys):
    study.write_text(study.read_text() + "power: 7.0\nseed: 3\n")  # the first is its own
    words = ["all", str(study), "--study", "toy", "--set", "compare=[]", "--quiet"]
    assert command.main(words) == 0
    assert capsys.readouterr().out.split() == ["runs/toy/report.html", "runs/index.html"]
    content = yaml.safe_load(Path("runs/toy_all.yaml").read_text())
    assert "power" not in content and content["seed"] == 3 and content["compare"] == []
    assert Path(content["data"]["manifest"]).is_absolute()
    assert "./toy/report.html" in Path("runs/index.html").read_text()
    # The file that is left runs it alone, to the same result.
    assert command.main(["toy", "runs/toy_all.yaml", "--out", "runs/toy", "--quiet"]) == 0


def test_cheapest_first_and_what_is_refused_is_left_out(study, capsys, monkeypatch):
    made = []

    def run_study(name, file, overrides, out, *, fresh, quiet):
        made.append(name)
        if name != "toy":
            raise InputError(f"{name} cannot")
        return toy(name, file, overrides, out, fresh=fresh, quiet=quiet)

    toy = verb.run_study
    monkeypatch.setattr(verb, "run_study", run_study)
    names = ("saliency", "toy", "permutation")
    words = [word for name in names for word in ("--study", name)]
    assert command.main(["all", str(study), *words, "--quiet"]) == 2
    streams = capsys.readouterr()
    assert "left out: saliency: saliency cannot" in streams.err
    assert streams.out.split() == ["runs/toy/report.html", "runs/index.html"]
    assert made[0] == "toy" and sorted(made) == sorted(names)


def test_what_needs_more_than_all_share_is_told_and_no_failure(capsys):
    assert verb._able(["ace", "diff"]) == ["ace"]
    assert capsys.readouterr().err == "not made: diff, which needs other in a file of its own\n"


def test_mistakes(study, capsys):
    for words, told in (
        (["--study", "tyo"], "did you mean 'toy'"),
        (["--set", "model.sorce=1"], "did you mean 'source'"),
    ):
        assert command.main(["all", str(study), *words]) == 2
        assert told in capsys.readouterr().err and not Path("runs").exists()


def test_a_file_that_it_has_not_written_is_not_replaced(study, capsys):
    """Such as the one that is given, which may hold a study's own keys."""
    own = study.rename(study.with_name("toy_all.yaml"))
    before = own.read_bytes()
    words = ["--study", "toy", "--set", "compare=[]", "--quiet"]
    assert command.main(["all", str(own), *words, "--out", str(own.parent)]) == 2
    assert "toy_all.yaml: is there, and not written by conceptseg all" in capsys.readouterr().err
    assert own.read_bytes() == before
    for _ in range(2):  # its own it replaces
        assert command.main(["all", str(own), *words]) == 0

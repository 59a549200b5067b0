"""What a release pipeline gets: the verdicts on standard output, and exit code 4."""

import dataclasses
import json

import pytest

from conceptseg.errors import EXIT_FOUND, InputError
from conceptseg.result.joined import joined
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.verdict import concern
from conceptseg.study import __main__ as command
from conceptseg.study.audit.tables import verdicts
from conceptseg.study.command import gate
from conceptseg.study.command.junit import failing
from tests.report.test_card import audit
from tests.study.audit.small import assessed
from tests.study.audit.test_assess import ARMS, DONORS, values
from tests.study.audit.test_swap import exact_scenes

WORDS = ["--set", "margin=8", "--set", "look_images=2", "--set", "images=20"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The words of an audit that finds a network to rely on the texture, and finished."""
    folder = tmp_path_factory.mktemp("gate")
    named = ["model.name=constructed-1", f"data.manifest={exact_scenes(folder)}"]
    words = ["audit", "--out", str(folder / "out"), "-q", *WORDS]
    words += [word for one in named for word in ("--set", one)]
    assert command.main(words) == 0
    return words


@pytest.mark.parametrize(
    ("asked", "code"),
    [(["confirmed", "behaviour only"], EXIT_FOUND), (["underpowered"], 0)],
)
def test_the_verdicts_that_are_asked_about_end_it(finished, asked, code, capsys):
    words = [word for name in asked for word in ("--fail-on", name)]
    assert command.main([*finished, *words]) == code
    whole, *lines = capsys.readouterr().out.splitlines()
    assert whole.startswith("concern: ")
    assert len(lines) == 2 and all("the known context, " in line for line in lines)
    assert any("digit 3" in line and "+1.000 IoU" in line for line in lines)


def test_json_holds_every_number_and_the_sentence(finished, capsys):
    assert command.main([*finished, "--json"]) == 0
    rows = {row["class"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"digit 3", "digit 9"}
    assert rows["digit 3"]["effect"] == 1.0 and rows["digit 9"]["effect"] == -1.0
    assert set(rows["digit 3"]) == {*gate.FIELDS, "sentence"}


def test_a_name_that_is_no_verdict_is_refused_before_anything_runs(tmp_path, capsys):
    out = tmp_path / "out"
    assert command.main(["audit", "--out", str(out), "--fail-on", "confirm"]) == 2
    assert "did you mean 'confirmed'" in capsys.readouterr().err and not out.exists()


def test_a_gate_passes_what_was_not_asked_about(tmp_path):
    part(0.3).save(tmp_path / "one")
    told = gate.Told.of(tmp_path / "one")
    assert not failing(told.cases, ["confirmed"]) and not failing(told.cases, [])
    assert [one.name for one in failing(told.cases, ["behaviour only"])] == ["digit on t0"]
    assert "behaviour only: digit on t0, +0.30" in told.text()
    Result("audit", tables={"verdicts": Table([], ["verdict"])}).save(tmp_path / "none")
    assert gate.Told.of(tmp_path / "none").json() == "[]"


def test_the_verdict_of_any_run_can_be_asked_about(tmp_path):
    result = Result("ace", verdict=concern("It needs bricks.", "Look."))
    result.save(tmp_path / "run")
    told = gate.Told.of(tmp_path / "run")
    assert failing(told.cases, gate.wanted("ace", ["concern"]))
    assert not failing(told.cases, gate.wanted("ace", ["cannot-tell"]))
    assert json.loads(told.json())["status"] == "concern"
    assert told.text() == "concern: It needs bricks."
    with pytest.raises(InputError, match="--fail-on confirmed"):
        gate.wanted("ace", ["confirmed"])
    assert gate.wanted("audit", ["confirmed", "no-reliance-shown"])


def part(effect, spread=0.005):
    cases = assessed(values(effect, spread), ARMS, DONORS)
    return Result("audit", tables={"verdicts": verdicts(cases)}, notes={"images": 1})


def test_of_independent_classes_all_are_looked_through_together(tmp_path):
    """Each has a p of its own; of many, what is barely shown of one is open."""
    one, other = part(0.3), part(0.0)
    p = one.tables["verdicts"].rows[0]["p_adjusted"]
    joined({"a": one, "b": other}).save(tmp_path / "two")
    first, second = gate.verdicts(Result.load(tmp_path / "two"))
    assert first["verdict"] == "behaviour only" and first["p_adjusted"] == pytest.approx(2 * p)
    assert second["verdict"] == "no reliance shown"
    many = {f"c{i}": one for i in range(int(0.06 / p) + 1)}
    joined(many).save(tmp_path / "many")
    rows = gate.verdicts(Result.load(tmp_path / "many"))
    assert {row["verdict"] for row in rows} == {"underpowered"}
    assert not failing(gate.Told.of(tmp_path / "many").cases, ["behaviour only"])
    assert "together it is open" in rows[0]["sentence"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("low", [1]),
        ("effect", {"a": 1}),
        ("high", "x"),
        ("p_adjusted", [None]),
        ("effect", "nan"),
        ("detectable", "inf"),
    ],
)
def test_a_number_that_no_audit_wrote_is_refused(tmp_path, key, value):
    made = audit()
    table = made.tables["verdicts"]
    rows = [{**row, key: value} for row in table.rows]
    edited = {"verdicts": dataclasses.replace(table, rows=rows)}
    dataclasses.replace(made, tables=edited).save(tmp_path / "out")
    with pytest.raises(InputError, match=r"out: result.json does not hold what it should"):
        gate.Told.of(tmp_path / "out")

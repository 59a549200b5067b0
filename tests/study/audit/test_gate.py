"""What a release pipeline gets: the verdicts on standard output, and exit code 4."""

import json

import pytest

from conceptseg.errors import EXIT_FOUND
from conceptseg.result.columns import Column
from conceptseg.result.joined import joined
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study import __main__ as command
from conceptseg.study.audit.tables import verdicts
from conceptseg.study.command import gate
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
    lines = capsys.readouterr().out.splitlines()
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


def test_a_gate_passes_what_was_not_asked_about():
    cases = assessed(values(0.3), ARMS, DONORS)
    rows = [dict(row) for row in verdicts(cases).rows]
    assert gate.code(rows, ["confirmed"]) == 0 and gate.code(rows, ["behaviour only"]) == 4
    assert gate.code(rows, []) == 0
    assert "behaviour only: digit on t0, +0.30" in gate.text(rows, as_json=False)
    nothing = Table.of([], [Column("verdict")])
    assert gate.text([dict(row) for row in nothing.rows], as_json=True) == "[]"


def part(effect, spread=0.005):
    cases = assessed(values(effect, spread), ARMS, DONORS)
    return Result("audit", tables={"verdicts": verdicts(cases)}, notes={"images": 1})


def test_of_independent_classes_all_are_looked_through_together(tmp_path):
    """Each has a p of its own; of many, what is barely shown of one is open."""
    one, other = part(0.3), part(0.0)
    p = one.tables["verdicts"].rows[0]["p_adjusted"]
    joined({"a": one, "b": other}).save(tmp_path / "two")
    first, second = gate.verdicts(tmp_path / "two")
    assert first["verdict"] == "behaviour only" and first["p_adjusted"] == pytest.approx(2 * p)
    assert second["verdict"] == "no reliance shown"
    many = {f"c{i}": one for i in range(int(0.06 / p) + 1)}
    joined(many).save(tmp_path / "many")
    rows = gate.verdicts(tmp_path / "many")
    assert {row["verdict"] for row in rows} == {"underpowered"}
    assert gate.code(rows, ["behaviour only"]) == 0 and "together it is open" in rows[0]["sentence"]

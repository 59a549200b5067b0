"""`conceptseg verify`: a run as it was saved passes, and whatever is changed in it does not."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg import catalogue
from conceptseg.report.blocks import Facts, Report, Section
from conceptseg.report.page import render
from conceptseg.report.thumbnails import encode
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.__main__ import main


class Study:
    @staticmethod
    def report(result):
        rows = result.tables["sums"].rows
        facts = Facts([(row["name"], row["value"]) for row in rows])
        return Report("Toy", sections=[Section("sums", "Sums", blocks=[facts])])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "load", lambda kind, name: Study)
    picture = encode(Image.fromarray(np.zeros((4, 4, 3), np.uint8)))
    table = Table([{"name": "loss", "value": 0.25}])
    arrays = {"direction": np.arange(3.0)}
    result = Result("ace", tables={"sums": table}, images={"a": picture}, arrays=arrays)
    return result.save("run", render(Study.report(result), result))


def test_what_was_saved_passes(run, capsys):
    assert main(["verify", "run"]) == 0
    out = capsys.readouterr().out
    assert json.loads((run / "result.json").read_text())["digest"] in out
    assert "2 files unchanged" in out and "the report of this result, unchanged" in out
    (run / "report.html").rename("sent.html")
    assert main(["verify", "run", "--report", "sent.html"]) == 0


def edited(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
    "file, old, new, told",
    [
        ("result.json", b"0.25", b"0.26", "was altered"),
        ("report.html", b"0.25", b"0.26", "differs from what this result renders to"),
        ("report.html", b'digest" content="', b'digest" content="0', "names no digest"),
        ("images/a.webp", b"RIFF", b"RIFG", "was altered"),
        ("arrays.npz", b"PK", b"KP", "was altered"),
    ],
)
def test_a_change_fails_it(run, capsys, file, old, new, told):
    edited(run / file, old, new)
    assert main(["verify", "run"]) == 2
    assert told in capsys.readouterr().err


def test_a_report_of_another_result_fails(run, capsys):
    table = Table([{"name": "loss", "value": 0.5}])
    other = Result("ace", tables={"sums": table})
    other.save("other", render(Study.report(other), other))
    assert main(["verify", "run", "--report", "other/report.html"]) == 2
    assert "is of another result" in capsys.readouterr().err
    Path("run/report.html").unlink()
    assert main(["verify", "run"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_review_is_shown_when_the_report_is_rendered_again_and_then_verified(run, capsys):
    (run / "review.yaml").write_text(
        "{reviewer: Jane Doe, date: 2026-03-01, decision: accepted, notes: fine}"
    )
    assert main(["verify", "run"]) == 2  # the report was rendered without it
    assert main(["report", "run"]) == 0 and "Jane Doe" in (run / "report.html").read_text()
    assert main(["verify", "run"]) == 0
    edited(run / "report.html", b"Jane Doe", b"John Doe")
    assert main(["verify", "run"]) == 2
    assert "differs from what this result renders to" in capsys.readouterr().err

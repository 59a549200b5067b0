"""`conceptseg index`: cards of whatever runs lie in a folder, on one page that only filters."""

import json
import re
import shutil
from pathlib import Path

import pytest

from conceptseg import catalogue
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.result.verdict import concern, none_shown
from conceptseg.study.__main__ import main

EVIL = '"><script>alert(1)</script>'


class Study:
    @staticmethod
    def report(result):
        return Report("Toy")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "load", lambda kind, name: Study)
    notes = {"model": EVIL, "manifest": "set", "classes": ["digit 3"]}
    for folder, verdict in (
        ("a", concern("Digit 3 needs brick: digit 3.", "Look.")),
        ("deep/er/b", none_shown("Nothing.", "Fine.")),
        (f"javascript:alert(1)#?{'&'}", none_shown("Nothing.", "Fine.")),
    ):
        made = {"weights": "w"}
        Result("ace", notes=notes, provenance=made, verdict=verdict).save(Path("runs") / folder)
    return tmp_path / "runs"


def test_each_run_has_a_card_and_its_link_stays_in_the_folder(runs, capsys):
    assert main(["index", "runs"]) == 0
    assert capsys.readouterr().out.split() == ["runs/index.html"]
    page = (runs / "index.html").read_text()
    links = re.findall(r'<h3><a href="([^"]*)"', page)
    assert len(links) == 3 and all(one.startswith("./") for one in links)
    assert "./deep/er/b/report.html" in links
    assert "<script>alert" not in page and page.count("<script>") == 1
    assert "2 of 3" not in page and "1 of 3 runs raise a concern on digit 3" in page


def test_elsewhere_links_lead_back(runs):
    Path("site").mkdir()
    assert main(["index", "runs", "--out", "site/all.html"]) == 0
    assert "./../runs/a/report.html" in Path("site/all.html").read_text()


def test_broken_runs_are_left_out_by_name_and_edited_ones_told(runs):
    (runs / "broken").mkdir()
    (runs / "broken/result.json").write_text("{")
    content = json.loads((runs / "a/result.json").read_text())
    content["notes"]["model"] = "another"
    (runs / "a/result.json").write_text(json.dumps(content))
    (runs / "link").symlink_to(runs / "deep")
    assert main(["index", "runs"]) == 0
    page = (runs / "index.html").read_text()
    assert "Left out: runs/broken/result.json" in page
    assert "a: its result was edited" in page
    assert page.count('<article class="run"') == 3


def test_mistakes(runs, capsys):
    assert main(["index", "none"]) == 2
    assert "no such folder" in capsys.readouterr().err
    shutil.rmtree(runs)
    runs.mkdir()
    assert main(["index", "runs"]) == 2
    assert "holds no finished run" in capsys.readouterr().err

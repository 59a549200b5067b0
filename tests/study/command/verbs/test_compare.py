"""`conceptseg compare`: text, JSON and a page of two finished runs; exit codes; a JUnit file."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from conceptseg import catalogue
from conceptseg.report.blocks import Card, Cards, Picture, Report, Section
from conceptseg.report.thumbnails import encode
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.verdict import concern, none_shown
from conceptseg.study.__main__ import main

EVIL = '<img src=x onerror="alert(1)">'


class Study:
    """Reports a card with a picture for each finding."""

    @staticmethod
    def report(result):
        cards = [
            Card(
                f"card {key}", id=f"concept-{key}", pictures=[Picture(key, alt=EVIL, caption=EVIL)]
            )
            for key in result.images
        ]
        return Report("Toy", sections=[Section("concepts", "Concepts", blocks=[Cards(cards)])])


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "load", lambda kind, name: Study)
    from PIL import Image

    picture = encode(Image.fromarray(np.zeros((4, 4, 3), np.uint8)))

    def save(name, findings, **keys):
        table = Table([{"class": "digit 3"}, {"class": EVIL}])
        provenance = {"weights": name, "data": "d"}
        result = Result("ace", findings, {"t": table}, images={"a": picture}, **keys)
        Result(**{**vars(result), "provenance": provenance}).save(tmp_path / name)

    def finding(effect, class_name, by="interval", **details):
        return Finding(
            claim=f"{class_name} {EVIL}",
            class_=class_name,
            effect=effect,
            ci=(effect - 0.1, effect + 0.1),
            by=by,
            p_adjusted=0.7 if by == "test" else None,
            n=9,
            evidence="concept-a",
            details={"effect_name": "loss", **details},
        )

    context = {"class_name": "digit 3", "from_context": True}
    fine = {"verdict": none_shown("Nothing.", "Fine.")}
    biased = [finding(-0.97, **context), finding(-0.3, EVIL)]
    save("biased", biased, verdict=concern("Brick.", "Look."))
    save("clean", [finding(-0.3, EVIL), finding(0.01, by="test", **context)], **fine)
    save("silent", [finding(-0.3, EVIL)], **fine)
    save("unsure", [finding(-0.3, EVIL), finding(-0.88, by="test", **context)], **fine)
    return tmp_path


def test_text_names_what_is_gone_with_its_interval(runs, capsys):
    assert main(["compare", "biased", "clean"]) == 0
    out = capsys.readouterr().out
    told = "digit 3 from context: gone (loss: -0.970 [-1.070, -0.870], then +0.010"
    assert told in out and "no clear change" in out


@pytest.mark.parametrize(("after", "told"), [("silent", "not shown)"), ("unsure", "-0.880 [")])
def test_what_is_not_surely_less_is_no_longer_shown_and_has_no_tick(runs, capsys, after, told):
    assert main(["compare", "biased", after]) == 0
    out = capsys.readouterr().out
    start = "digit 3 from context: no longer shown (loss: -0.970 [-1.070, -0.870], then "
    assert start + told in out and "gone" not in out
    assert main(["compare", "biased", after, "--format", "html", "--out", "c.html"]) == 0
    page = Path("c.html").read_text()
    assert "1 no longer shown" in page and "✓" not in page
    assert main(["compare", "biased", after, "--fail-on", "no-longer-shown"]) == 4


@pytest.mark.parametrize(
    "words, code",
    [
        (["biased", "clean", "--fail-on", "new", "--fail-on", "grown"], 0),
        (["clean", "biased", "--fail-on", "new"], 4),
        (["clean", "biased", "--fail-on", "grown"], 0),
        (["biased", "clean", "--fail-on", "no-clear-change"], 4),
    ],
)
def test_exit_codes_and_junit(runs, words, code):
    assert main(["compare", *words, "--junit", "j.xml"]) == code
    root = ElementTree.parse("j.xml").getroot()
    assert root.get("failures") == ("1" if code else "0") and root.get("tests") == "2"


def test_json_is_the_same_in_numbers(runs, capsys):
    assert main(["compare", "biased", "clean", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["runs"] == ["biased", "clean"]
    gone = next(one for one in content["changes"] if one["status"] == "gone")
    assert gone["name"] == "digit 3 from context" and gone["after"]["value"] == 0.01
    assert gone["before"] == {"value": -0.97, "low": -1.07, "high": -0.87}


def test_the_page_shows_pictures_of_both_and_runs_nothing(runs, capsys):
    assert main(["compare", "biased", "clean", "--format", "html", "--out", "c.html"]) == 0
    assert capsys.readouterr().out.split() == ["c.html"]
    page = Path("c.html").read_text()
    assert "digit 3 from context: gone" in page and "Not shown in this run." in page
    assert page.count('src="data:image/webp;base64,') == 3  # one is on one side alone
    assert "concern" in page and "none shown" in page
    assert "<script" not in page and "<img src=x" not in page
    assert "default-src &#39;none&#39;" in page and not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.parametrize(
    "words, told",
    [
        (["biased", "none"], "does not exist"),
        (["biased", "clean", "--fail-on", "nwe"], "did you mean 'new'"),
        (["biased", "clean", "--format", "htm"], "did you mean 'html'"),
        (["biased", "clean", "--out", "biased"], "a folder"),
    ],
)
def test_mistakes(runs, capsys, words, told):
    assert main(["compare", *words]) == 2
    assert told in capsys.readouterr().err

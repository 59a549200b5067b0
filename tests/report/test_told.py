"""Findings on a page: equal ones as one, with pictures; the verdict above them; citations."""

import re
from dataclasses import replace

import numpy as np
import pytest

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.report import told
from conceptseg.report.blocks import Card, Cards, Picture, Report, Section
from conceptseg.report.cite import citations
from conceptseg.report.page import render
from conceptseg.report.scripts import coded
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.verdict import cannot_tell, concern, none_shown
from conceptseg.settings import without_run
from tests.files import png
from tests.reports import HOSTILE

IMAGES = {f"p{i}": png(np.full((4, 5, 3), 20 * i, np.uint8)) for i in range(12)}


def finding(claim, plain="", evidence="unit-1", **more):
    return Finding(claim=claim, plain=plain, n=9, evidence=evidence, **more)


def cards(*sizes):
    """Cards unit-1, unit-2, ... of so many pictures each."""
    keys = iter(IMAGES)
    made = [
        Card(
            f"Unit {i}", pictures=[Picture(next(keys), f"of {i}") for _ in range(n)], id=f"unit-{i}"
        )
        for i, n in enumerate(sizes, 1)
    ]
    return Report("t", sections=[Section("s", "S", blocks=[Cards(made)])])


def test_pictures_of_other_photos_come_before_further_regions_of_one():
    """Two units that answer most to the same photos show each of them once, if there are others."""
    own = [
        Picture(key, f"{key} of unit {unit}", "", (f"M{unit}",))
        for key in ("p1", "p2", "p3", "p4")
        for unit in (1, 2)
    ]
    shown = told.pictures([(1, finding("it"))], lambda *_: own, {})
    assert [one.key for one in shown] == ["p1", "p2", "p3", "p4", "p1", "p2"]
    assert len({(one.key, one.outlines) for one in shown}) == 6


def test_equal_findings_stand_as_one_with_a_picture_of_each():
    findings = [
        finding("unit 1 is alike by 0.9", "It is alike."),
        finding("another", "It is not.", "unit-3"),
        finding("unit 2 is alike by 0.8", "It is alike.", "unit-2"),
    ]
    html = render(cards(8, 2, 1), Result("actmax", findings, images=IMAGES))
    items = html.split('<li class="finding')[1:]
    assert len(items) == 2
    first, second = items[0], items[1].split("</section>")[0]
    assert "It is alike." in first and "2 findings" in first
    assert 'id="finding-1"' in first and 'id="finding-3"' in first
    assert first.count('<figure class="picture">') == told.PICTURES  # in turn: 1, 2, 1, 2, 1, 1
    assert [first.count(f'aria-label="of {i}"') for i in (1, 2)] == [4, 2]
    assert 'id="finding-2"' in second and second.count('<figure class="picture">') == 1
    for number, unit in ((1, 1), (2, 3), (3, 2)):
        card = html[html.index(f'id="unit-{unit}"') :]
        assert card.index(f'id="evidence-{number}" href="#finding-{number}"') < 300


def test_findings_without_plain_words_are_never_merged():
    result = Result("actmax", [finding("a"), finding("b")])
    assert [len(one) for one in told.groups(result)] == [1, 1]
    weak = finding("w", "alike", by="test", p_adjusted=0.5)
    sure = finding("s", "alike", by="test", p_adjusted=0.01)
    assert [len(one) for one in told.groups(Result("actmax", [sure, weak, sure]))] == [2, 1]


def test_the_study_chooses_pictures_before_its_cards():
    report = replace(cards(2), illustrate=lambda one, card: [Picture("p9", "chosen")])
    html = render(report, Result("actmax", [finding("a")], images=IMAGES))
    first = html.split('<li class="finding')[1].split("</li>")[0]
    assert 'aria-label="chosen"' in first and 'aria-label="of 1"' not in first


@pytest.mark.parametrize(
    ("verdict", "status", "word"),
    [
        (concern(HOSTILE, "Run `conceptseg audit` <b>"), "concern", "Concern"),
        (none_shown("No.", "Go."), "none shown", "None shown"),
        (cannot_tell("?", "Do."), "cannot tell", "Cannot tell"),
    ],
)
def test_the_verdict_is_a_word_and_an_icon_above_all(verdict, status, word):
    html = render(replace(cards(1), verdict=verdict), Result("actmax", images=IMAGES))
    box = html[html.index('<section class="verdict') : html.index("</section>")]
    assert f'data-status="{status}"' in box and f">{word}<" in box and "<svg" in box
    assert html.index('class="verdict') < html.index('id="findings"')
    assert HOSTILE not in box
    if status == "concern":
        assert "Run <code>conceptseg audit</code> &lt;b&gt;" in box


def test_code_is_marked_and_nothing_else():
    assert coded("a `b<` c") == "a <code>b&lt;</code> c"
    assert coded("a ` b") == "a ` b"


ENTRY = re.compile(r"@misc\{[\w-]+,\n(?:  \w+ = \{(?:[^{}]|\{[^{}]*\})*\},\n)+\}")


@pytest.mark.parametrize("study", catalogue.names("study"))
def test_the_report_and_its_method_are_cited_as_bibtex(study):
    notes = {"model": "u_net & {co}", "manifest": "50% of it"}
    result = Result(study, notes=notes, timings={"finished": "2026-01-31T10:00:00Z"})
    report, *method = citations(result, "A title")
    assert method and all(ENTRY.fullmatch(one.bibtex) for one in (report, *method))
    keys = [re.search(r"\{([\w-]+),", one.bibtex).group(1) for one in (report, *method)]
    assert len(set(keys)) == len(keys)
    assert result.digest in report.bibtex and "year = {2026}" in report.bibtex
    assert r"u\_net \& co" in report.bibtex and r"50\% of it" in report.bibtex


def test_of_several_classes_the_last_date_counts():
    timings = {"finished": {"a": "2026-01-31T10:00:00Z", "b": "2026-02-01T09:00:00Z"}}
    result = Result("ace", timings=timings)
    assert "(2026-02-01)" in render(Report("t", subtitle="s"), result)
    assert "2026-02-01" in citations(result, "t")[0].text


def test_authors_are_told_apart():
    found = [one.bibtex for one in citations(Result("bottleneck"), "t")[1:]]
    assert "author = {Janik and Sankaran and Ortiz}" in found[0] and "year = {2019}" in found[0]
    found = [one.bibtex for one in citations(Result("ace"), "t")[1:]]
    assert "author = {Janik and others}" in found[2] and "eprint = {2103.08590}" in found[2]


def test_the_cover_says_what_the_studys_file_says_of_it():
    config = {"cover": {"author": HOSTILE, "intended_use": "Screening", "purpose": ""}}
    html = render(Report("t"), Result("actmax", config=config))
    head = html[html.index("<header") : html.index("</header>")]
    assert "Intended use" in head and "Screening" in head and "Purpose" not in head
    assert HOSTILE not in head and "&lt;script&gt;" in head
    assert "<dl" not in render(Report("t"), Result("actmax")).split("</header>")[0]
    with pytest.raises(InputError, match="config.cover must hold texts"):
        render(Report("t"), Result("actmax", config={"cover": {"author": 3.5}}))


def test_what_a_report_is_called_changes_nothing_that_is_computed():
    plain = {"seed": 0, "run": {"batch_size": 8}}
    assert without_run(plain | {"cover": {"author": "x"}}) == without_run(plain) == {"seed": 0}

"""Every study's report in a real browser: the first screen, pictures, links, charts, taking along.

Needs Chromium (on the path, or named by CONCEPTSEG_CHROMIUM) and playwright, which drives it;
axe-core comes with axe-playwright-python.
"""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from conceptseg import catalogue
from conceptseg.report import cartesian
from conceptseg.study import __main__ as command
from tests.report.browser import chrome
from tests.report.runs import finish

ILLUSTRATED = ("ace", "actmax", "audit", "bottleneck", "dissect", "lcrp", "segnbdt")
"""Studies of which every finding has a picture, a target of its own and a way back."""
QUICK = ("ace", "bottleneck")
"""Whose runs serve the other tests as well; those of the others are slow."""
STUDIES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in catalogue.names("study")
]
UNDRAWN = """() => [...document.querySelectorAll('.plot')].filter(p => p.checkVisibility() &&
    !p.querySelector('.point, .points path, .hm image, .js-line, .text, path.surface'))
    .map(p => p.getAttribute('aria-label'))"""
"""Charts that can be seen and show no mark."""
TYPICAL_MB, TINY_MB = 3, 1.5
"""Of an example's report; and of one on a few small images, with the part of plotly.js."""


@pytest.fixture(scope="module")
def browser():
    with chrome.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def finished(browser, tmp_path_factory):
    """The folder of a tiny run, each made once."""
    known: dict[str, Path] = {}

    def folder(study):
        if study not in known:
            known[study] = finish(study, tmp_path_factory.mktemp(study))
        return known[study]

    return folder


def violations(page):
    """Rules of axe-core that the page breaks, and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("study", STUDIES)
def test_a_report_can_be_decided_on(browser, finished, study, width):
    report = finished(study) / "report.html"
    small = cartesian.part(get_plotlyjs()) is not None  # of a version that is known
    assert report.stat().st_size < (TINY_MB if small else TYPICAL_MB) * 1e6
    saved = json.loads((report.parent / "result.json").read_text())
    with chrome.visits(browser, report.as_uri()) as visit:
        page = visit(width)
        verdict = page.evaluate(chrome.VERDICT)
        assert verdict["status"] == saved["verdict"]["status"] and verdict["bottom"] < 900
        assert verdict["word"].lower() == verdict["status"] and verdict["icon"] == 1
        findings = page.evaluate(chrome.FINDINGS)
        assert len(findings) == len(saved["findings"])
        if study in ILLUSTRATED:
            assert all(one["pictures"] for one in findings)
            assert len({one["target"] for one in findings}) == len(findings)
        for one in findings:
            if one["target"] is not None:
                assert one["back"] == f"#{one['id']}"
        chrome.scroll_through(page)
        assert chrome.overflow(page) <= 0
        chrome.open_all(page)
        chrome.scroll_through(page)
        assert page.evaluate(chrome.TICKS) == []
        assert page.evaluate(chrome.MEETINGS) == []
        assert page.evaluate(chrome.UNREACHED) == 0
        assert chrome.overflow(page) <= 0 and page.evaluate(chrome.WIDE) == []
        assert violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("study", catalogue.names("study"))
def test_the_report_of_an_example_can_be_sent(browser, tmp_path, study):
    """What a study reports of its own example, with all pictures, and each chart is drawn."""
    assert command.main([study, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    report = tmp_path / "run/report.html"
    assert report.stat().st_size < TYPICAL_MB * 1e6
    with chrome.visits(browser, report.as_uri()) as visit:
        page = visit(1280)
        chrome.open_all(page)
        chrome.scroll_through(page)
        assert page.evaluate(UNDRAWN) == []


def test_what_leads_to_evidence_leads_back(browser, finished):
    """From the keyboard, also where the evidence is folded away."""
    with chrome.visits(browser, (finished("bottleneck") / "report.html").as_uri()) as visit:
        page = visit(1280)
        for place in page.evaluate(chrome.FINDINGS):
            link = page.locator(f"[id='{place['id']}'] a[href='{place['target']}']")
            link.evaluate("one => one.closest('details') && (one.closest('details').open = true)")
            link.press("Enter")
            back = page.locator(f"[id='{place['target'][1:]}']")
            assert back.is_visible() and page.url.endswith(place["target"])
            back.press("Enter")
            assert page.url.endswith(place["back"])
            assert page.locator(f"[id='{place['id']}']").is_visible()


def test_controls_are_reached_by_tab(browser, finished):
    with chrome.visits(browser, (finished("ace") / "report.html").as_uri()) as visit:
        page = visit(1280)
        page.evaluate(
            "document.querySelectorAll('button, select, input').forEach((one, i) => one.n = i + 1)"
        )
        wanted = set(
            page.evaluate(
                "[...document.querySelectorAll('button, select, input')]"
                ".filter(one => one.checkVisibility()).map(one => one.n)"
            )
        )
        seen, last = set(), None
        for _ in range(600):
            page.keyboard.press("Tab")
            last = page.evaluate("document.activeElement.n || null")
            seen.add(last)
            if wanted <= seen:
                break
        assert wanted <= seen


def taken(page, button):
    """The name and bytes of what a button hands over."""
    with page.expect_download() as waiting:
        button.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_all_rows_are_taken_along_as_they_are_saved(browser, finished):
    folder = finished("bottleneck")
    saved = json.loads((folder / "result.json").read_text())["tables"]["standing"]
    with chrome.visits(browser, (folder / "report.html").as_uri()) as visit:
        page = visit(1280)
        box = page.locator("[data-table='standing-table']")
        name, data = taken(page, box.locator("[data-csv]"))
        assert name == "bottleneck-biased-all-measures-" + name.rpartition("-")[2]
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        assert list(rows[0]) == saved["columns"] and len(rows) == len(saved["rows"])
        for row, kept in zip(rows, saved["rows"], strict=True):
            for key, value in kept.items():
                number = isinstance(value, float | int) and not isinstance(value, bool)
                said = row[key]
                assert (float(said) if number else said) == ("" if value is None else value)
        field = box.locator("input")
        field.fill(saved["rows"][0]["told_from"])
        page.wait_for_function(
            "one => one.textContent.includes(' of ')", arg=box.locator(".said").element_handle()
        )
        shown = box.locator("tbody tr:not([hidden])")
        assert 1 <= shown.count() < len(saved["rows"])


def test_charts_are_taken_along_as_svg_and_png(browser, finished):
    with chrome.visits(browser, (finished("bottleneck") / "report.html").as_uri()) as visit:
        page = visit(1280)
        chart = page.locator("#r2")
        name, data = taken(page, chart.locator("[data-save=svg]"))
        assert name.startswith("bottleneck-biased-explained-variance") and name.endswith(".svg")
        assert ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        name, data = taken(page, chart.locator("[data-save=png]"))
        with Image.open(io.BytesIO(data)) as opened:
            assert opened.format == "PNG" and opened.width >= 700


def test_pictures_are_enlarged_in_a_dialog_from_the_keyboard(browser, finished):
    with chrome.visits(browser, (finished("ace") / "report.html").as_uri()) as visit:
        page = visit(390)
        button = page.locator("[data-large]").first
        button.press("Enter")
        box = page.locator("dialog[open]")
        first = box.locator("#large-said").inner_text()
        assert first and box.locator("use[href^='#picture']").count() == 1
        page.keyboard.press("ArrowRight")
        assert box.locator("#large-said").inner_text() != first
        assert violations(page) == []
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert button.evaluate("one => one === document.activeElement")


def test_citations_are_saved_as_bibtex(browser, finished):
    with chrome.visits(browser, (finished("ace") / "report.html").as_uri()) as visit:
        page = visit(1280)
        page.locator(".cite summary").press("Enter")
        name, data = taken(page, page.locator("[data-copy=file]"))
        text = data.decode()
        assert name == "ace-biased.bib" and text.count("@misc{") == 4
        assert text.count("{") == text.count("}")

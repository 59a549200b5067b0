import base64
import gzip
import json
import re
import zlib
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest

from conceptseg.errors import InputError
from conceptseg.report import figures
from conceptseg.report.blocks import Card, Cards, FigureBlock, Picture, Report, Section, TableBlock
from conceptseg.report.page import render, write
from conceptseg.report.thumbnails import encode
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.wording import number, p_value
from tests.files import png, png_of
from tests.reports import HOSTILE, example, photos

VOID = {"meta", "link", "input", "br", "img", "hr"}
LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "background", "ping"}


class Page(HTMLParser):
    """What a parser sees: elements with their attributes, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.scripts, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html():
    result, report = example()
    return render(report, result)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_headings_ids_and_links_are_sound(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for tag in ("a", "use") for a in page.all(tag)]
    assert links and set(links) <= set(ids)
    assert len(page.all("main")) == len(page.all("title")) == 1
    assert page.all("html") == [{"lang": "en"}]


def test_every_picture_and_chart_is_described_and_has_its_table(page):
    pictures = [
        a
        for tag in ("svg", "div", "img")
        for a in page.all(tag)
        if a.get("role") == "img" or tag == "img"
    ]
    assert len(pictures) > 100
    assert all(attributes["aria-label"] for attributes in pictures)
    assert all("aria-hidden" in a for a in page.all("svg") if a.get("role") != "img")
    charts = [a for a in page.all("div") if a.get("class") == "plot"]
    assert len(charts) == 7
    assert len([a for a in page.all("details") if "data-rows" in a]) >= len(charts)


def test_nothing_is_loaded_and_no_other_script_may_run(html, page):
    for tag, attributes in page.elements:
        assert not LOADING & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
        href = attributes.get("href", "#")
        assert href.startswith(("#", "data:")), href[:50]
        assert "url(" not in attributes.get("style", "")
    assert "url(" not in "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert "@import" not in html.split("</style>")[0]
    policy = next(
        a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    code = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(code) == 1  # our own; it unpacks plotly.js, which is there once
    (packed,) = re.findall(r'<script type="application/gzip" id="plotly">(.*?)</script>', html)
    code.append(gzip.decompress(base64.b64decode(packed)).decode())
    assert "plotly.js v" in code[1] and policy.count("'sha256-") == 2
    for text in code:
        digest = base64.b64encode(sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_names_are_text_everywhere(html, page):
    ours = html[: html.index("<script>")]  # what comes after is a script
    assert HOSTILE not in ours
    assert "alert(1)" not in "".join(re.findall(r"<script>(.*?)</script>", html, re.DOTALL))
    assert HOSTILE in "".join(page.text)
    (packed,) = re.findall(r'<script type="application/gzip" id="charts">(.*?)</script>', html)
    assert re.fullmatch("[A-Za-z0-9+/=]+", packed)  # nothing in it can end its element
    contents = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert len(contents) == 7
    for content in contents.values():
        assert "<script" not in json.dumps(content["figure"])  # Plotly gets entities


def test_each_picture_is_embedded_once(html):
    result, _ = example()
    uris = re.findall(r'href="(data:image/webp;base64,[^"]+)"', html)
    assert len(uris) == len(set(uris)) == len(result.images)
    assert html.count("data:image/webp") == len(uris)
    embedded = {base64.b64decode(uri.partition(",")[2]) for uri in uris}
    assert embedded == set(result.images.values())


def test_pictures_that_are_not_shown_are_not_embedded():
    result, report = example()
    html = render(replace(report, sections=()), replace(result, findings=()))
    assert "data:image/webp" not in html
    assert "no finding to report" in html


def test_findings_come_first_in_order_and_link_to_their_evidence(html, page):
    result, _ = example()
    places = [html.index(f">{finding.claim.split(' of ')[0]}") for finding in result.findings[:1]]
    assert places[0] < html.index('id="concepts"')
    shown = re.findall(r'<p class="claim">(.*?) <span', html)
    assert len(shown) == len(result.findings)
    text = "".join(page.text)
    order = [text.index(finding.claim) for finding in result.findings[:3]]
    assert order == sorted(order)
    links = [a["href"] for a in page.all("a")]
    back = {a["id"]: a["href"] for a in page.all("a") if "id" in a}
    for rank in range(1, len(result.findings) + 1):  # each to a place of its own, and back
        assert links.count(f"#evidence-{rank}") == 1
        assert back[f"evidence-{rank}"] == f"#finding-{rank}"
    assert "−0.267" in html and "[−0.317, −0.217]" in html


EXAMINED = {
    "verdicts": {"output": "the output itself: 2 classes", "masks": "mean IoU 0.03 on 4 images"},
    "classes": [{"output": "car", "class": "car", "masks": "car", "iou": 0.03}],
    "doubts": [{"what": "class <b>names</b>", "found": "IoU 0.71 against 0.03", "doubt": True}],
    "images": 4,
}


def test_doubts_about_the_network_stand_before_the_findings():
    result, report = example()
    result = replace(result, provenance={"examination": EXAMINED})
    html = render(report, result)
    doubt = html.index("It is doubtful whether the network was read")
    assert doubt < html.index('id="findings"')
    assert "class &lt;b&gt;names&lt;/b&gt;: IoU 0.71 against 0.03" in html
    assert "How the network was read" in html and "Tried on 4 images" in html
    sure = replace(result, provenance={"examination": EXAMINED | {"doubts": []}})
    assert "It is doubtful" not in render(report, sure)


def test_evidence_that_is_a_table_is_named_not_linked():
    finding = Finding(claim="c", n=3, evidence="pairs")
    html = render(Report("t"), Result("ace", [finding]))
    assert "show it" not in html.split("</main>")[0]
    assert "<dd>pairs</dd>" in html


def test_outlines_are_not_filled_wherever_they_are_shown():
    """A path is on the page once, and shown by reference: there the page's style reaches no path by
    what stands around it, and browsers fill it with black."""
    photo = {"photo": png(np.zeros((4, 4, 3), np.uint8))}
    card = Card("a", pictures=[Picture("photo", "p", outlines=("M0 0L9 0L9 9Z", "M1 1L2 2L3 1Z"))])
    report = Report("t", sections=[Section("s", "S", blocks=[Cards([card])])])
    found = Page(render(report, Result("ace", images=photo)))
    paths = {one["id"]: one for one in found.all("path") if one.get("id", "").startswith("outline")}
    shown = {one["href"].removeprefix("#") for one in found.all("use")} & paths.keys()
    assert len(shown) == 2
    for name in shown:
        assert paths[name]["fill"] == "none"
        assert paths[name]["vector-effect"] == "non-scaling-stroke"


def test_the_same_result_renders_the_same_also_when_loaded(tmp_path, html):
    result, report = example()
    assert render(report, result) == html
    loaded = Result.load(result.save(tmp_path / "out", html))
    assert render(report, loaded) == html
    path = write(report, loaded, tmp_path / "out" / "report.html")
    assert path.read_text(encoding="utf-8") == html
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [
        "arrays.npz",
        "images",
        "report.html",
        "result.json",
    ]


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*report.html"):
        write(Report("t"), Result("ace"), tmp_path / "file" / "report.html")


def test_120_images_stay_within_15_megabytes():
    result, report = example(copies=20, points=3000)
    assert len(result.images) >= 120
    assert len(render(report, result).encode()) < 15e6


def test_a_very_large_report_is_warned_of(caplog, monkeypatch):
    from conceptseg.report import page

    monkeypatch.setattr(page, "LARGE_MB", 0.01)
    render(Report("t"), Result("ace"))
    assert "show fewer or smaller pictures" in caplog.text


def test_a_missing_picture_and_a_repeated_id_are_refused():
    card = Cards([Card("c", pictures=[Picture("absent", "alt")])])
    with pytest.raises(InputError, match="no picture 'absent'"):
        render(Report("t", sections=[Section("s", "S", blocks=[card])]), Result("ace"))
    table = TableBlock(Table([]), id="x")
    twice = [Section("s", "S", blocks=[table, table])]
    with pytest.raises(ValueError, match="given twice"):
        render(Report("t", sections=twice), Result("ace"))
    with pytest.raises(ValueError, match="is taken"):
        render(Report("t", sections=[Section("limits", "")], limits=["x"]), Result("ace"))


@pytest.mark.parametrize("spoilt", ["half", "head", "checked", "huge"])
def test_a_picture_that_does_not_decode_is_one_line(spoilt):
    """Whatever its digest says: who edits a picture can write that too."""
    whole = png(np.zeros((4, 5, 3), np.uint8))
    data = {
        "half": whole[:-30],
        "head": whole[:20],
        "checked": whole.replace(b"IDAT", b"IDAX"),
        "huge": png_of(60_000, 60_000, 8, 2, zlib.compress(b"")),
    }[spoilt]
    card = Cards([Card("c", pictures=[Picture("own", "alt")])])
    shown = Report("t", sections=[Section("s", "S", blocks=[card])])
    render(shown, Result("ace", images={"own": whole}))
    with pytest.raises(InputError, match="the picture images/own.png cannot be shown") as caught:
        render(shown, Result("ace", images={"own": data}))
    assert "\n" not in str(caught.value)


def test_long_tables_are_cut_and_say_so():
    table = Table([{"n": i, "p_holm": i / 1000} for i in range(300)])
    figure = figures.curves(np.arange(3.0), {"a": np.arange(3.0)}, x_name="x", y_name="y")
    blocks = [TableBlock(table, limit=10), FigureBlock(figure, "F", "alt", "caption", table)]
    html = render(Report("t", sections=[Section("s", "S", blocks=blocks)]), Result("ace"))
    assert "The first 10 of 300 rows" in html
    assert "The first 200 of 300 rows" in html
    assert "<td>&lt; 0.001</td>" in html and '<table class="sortable n1 n2">' in html
    (packed,) = re.findall(r'<script type="application/gzip" id="rows">(.*?)</script>', html)
    kept = json.loads(gzip.decompress(base64.b64decode(packed)))
    for name, shown in (("s-1", 10), ("s-2", 200)):  # the others are there for filter and CSV
        assert kept[name]["columns"] == ["n", "p_holm"]
        assert kept[name]["rows"] == [[i, i / 1000] for i in range(300)]
        assert kept[name]["more"][0][0] == str(shown) and len(kept[name]["more"]) == 300 - shown


def test_skipped_provenance_and_limits_are_always_there(page):
    text = "".join(page.text)
    for expected in (
        "Skipped entries: 5",
        "class not predicted",
        "model.sha256",
        "abab",
        "A concept is a cluster, not a word.",
        "12.2",
        "Configuration",
    ):
        assert expected in text


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"),
        (True, "yes"),
        (3, "3"),
        (120000, "120000"),
        (0.0, "0.000"),
        (0.5, "0.500"),
        (-0.267, "−0.267"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (1e-5, "1e−05"),
        (1e9, "1e+09"),
        ((0.1, 0.25), "0.100 to 0.250"),
        (["a", "b"], "a, b"),
        ({"a": 1}, "a: 1"),
        (np.float32(2), "2.00"),
        (float("nan"), "–"),
        ("x", "x"),
    ],
)
def test_numbers_are_written_for_readers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "< 0.001"),
        (0.00099, "< 0.001"),
        (0.0123, "0.012"),
        (0.0499, "0.050"),
        (0.2, "0.20"),
        (None, "–"),
    ],
)
def test_p_values_are_never_zero(value, text):
    assert p_value(value) == text


def test_grey_and_colour_photographs_are_among_the_examples():
    assert {image.shape[0] for image in photos().values()} == {1, 3}


def test_rendering_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys\nfrom conceptseg.report.blocks import Report\n"
        "from conceptseg.report.page import render\n"
        "from conceptseg.result.saved import Result\nrender(Report('t'), Result('ace'))\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_pictures_stand_beside_the_pointer():
    pictures = {f"p{n}": encode(np.full((4, 6, 3), 40 * n, np.uint8)) for n in range(3)}
    one, *more = (Picture(key, "alt", f"of {key}", ("M0 0L9 9Z",)) for key in pictures)
    figure = go.Figure({"data": [{"x": [1, 2, 3], "y": [1, 2, 3], "customdata": [0, 1, 2]}]})
    block = FigureBlock(figure, "F", "alt", "caption", Table([{"x": 1}]), hover=[one, more, None])
    html = render(
        Report("t", sections=[Section("s", "S", blocks=[block])]), Result("ace", images=pictures)
    )
    (packed,) = re.findall(r'<script type="application/gzip" id="charts">(.*?)</script>', html)
    (kept,) = json.loads(gzip.decompress(base64.b64decode(packed))).values()
    path = "M0 0L9 9Z"
    assert kept["hover"] == [
        [[["picture-0", path]], "of p0"],
        [[["picture-1", path], ["picture-2", path]], "of p1"],
        None,
    ]
    assert all(f'<image id="picture-{n}" width="6" height="4"' in html for n in range(3))

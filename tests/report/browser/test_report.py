"""The report in a real browser, headless and with the network off.

Needs Chromium (on the path, or named by CONCEPTSEG_CHROMIUM) and playwright, which drives it.
"""

import json
import re

import pytest
import yaml

from conceptseg.report.page import render
from conceptseg.study import __main__ as command
from tests.report.browser.chrome import chromium, overflow, scroll_through, visits
from tests.reports import HOSTILE, example
from tests.study import dim

pytestmark = pytest.mark.slow

DRAWN = """() => [...document.querySelectorAll('.plot')].map(p =>
    p.querySelectorAll('.point, .points path, .hm image, .js-line, .text').length)"""
"""Of each chart, how many marks it shows."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    result, report = example()
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(report, result), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def ace_address(tmp_path_factory):
    """What ACE itself reports of a few planted scenes."""
    folder = tmp_path_factory.mktemp("ace")
    (folder / "set.yaml").write_text("{format: planted, name: few, n: 60}")
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "planted", "name": "biased"},
        "run": {"device": "cpu"},
        "scales": [12],
        "min_images": 3,
        "concepts": {"kind": "kmeans", "counts": [5], "draws": 2, "seeds": 2},
        "min_auc": 0.6,
        "nulls": 199,
        "calibration": 20,
        "control_images": 20,
        "map_segments": 24,  # fewer than UMAP wants, whose compilation takes long
        "picture_px": 64,
    }
    (folder / "ace.yaml").write_text(yaml.safe_dump(content))
    words = ["ace", "-c", str(folder / "ace.yaml"), "--out", str(folder / "out"), "--quiet"]
    assert command.main(words) == 0
    return (folder / "out/report.html").as_uri()


@pytest.fixture(scope="module")
def tree_address(tmp_path_factory):
    """What SegNBDT reports of a few planted scenes, with what it was made of."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "set.yaml").write_text("{format: planted, name: few, n: 12}")
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "planted", "name": "biased"},
        "run": {"device": "cpu"},
        "evidence_images": 4,
        "inspected": 2,
        "compare": [],
    }
    (folder / "tree.yaml").write_text(yaml.safe_dump(content))
    words = ["segnbdt", "-c", str(folder / "tree.yaml"), "--out", str(folder / "out"), "--quiet"]
    assert command.main(words) == 0
    result = json.loads((folder / "out/result.json").read_text())
    return (folder / "out/report.html").as_uri(), result


@pytest.fixture(scope="module")
def quality_address(tmp_path_factory):
    """What the bottleneck study reports of 36 images with squares."""
    folder = tmp_path_factory.mktemp("quality")
    few = {"regressors": ["ridge"], "folds": 3, "repeats": 1, "map_seeds": 1, "map_images": 40}
    few |= {"shift_images": 0, "compare": [], "min_slice": 4}
    path = dim.write(folder / "files", "bottleneck", **few)
    assert dim.run("bottleneck", path, folder / "out") == 0
    return (folder / "out/report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser, address):
    with visits(browser, address) as opened:
        yield opened


@pytest.fixture
def visit_ace(browser, ace_address):
    with visits(browser, ace_address) as opened:
        yield opened


@pytest.fixture
def visit_tree(browser, tree_address):
    with visits(browser, tree_address[0]) as opened:
        yield opened


@pytest.mark.parametrize("width, scheme", [(390, "light"), (768, "light"), (1280, "dark")])
def test_charts_are_drawn_when_reached_and_nothing_is_too_wide(visit, width, scheme):
    page = visit(width, 844, color_scheme=scheme)
    page.wait_for_load_state()
    first = page.locator(".plot[data-drawn]").count()
    assert first < page.locator(".plot").count()  # the page opens without drawing them all
    scroll_through(page)
    assert overflow(page) <= 0
    for details in page.locator("details").all():
        details.evaluate("element => element.open = true")
    assert overflow(page) <= 0
    drawn = page.evaluate(DRAWN)
    assert len(drawn) == 7 and min(drawn) > 0


@pytest.mark.parametrize("width, scheme", [(390, "light"), (1280, "dark")])
def test_ace_draws_all_its_charts_and_nothing_is_too_wide(visit_ace, width, scheme):
    page = visit_ace(width, 844, color_scheme=scheme)
    scroll_through(page)
    assert overflow(page) <= 0
    for details in page.locator("details").all():
        details.evaluate("element => element.open = true")
    assert overflow(page) <= 0
    drawn = page.evaluate(DRAWN)
    assert len(drawn) >= 7 and min(drawn) > 0


def test_ace_shows_headings_above_what_they_head(visit_ace):
    """Of every block, and so of the control's list of facts, which is a grid of its own."""
    page = visit_ace(1280)
    page.wait_for_load_state()
    heads = page.evaluate("""() => [...document.querySelectorAll('.block > h3')].map(head => {
        const [above, below] = [head, head.nextElementSibling].map(e => e.getBoundingClientRect());
        return [above.bottom, below.top, head.innerText];
    })""")
    assert any("weights shuffled" in text for _, _, text in heads)
    for bottom, top, text in heads:
        assert bottom <= top + 1, text


def test_names_are_shown_literally_in_charts(visit):
    page = visit(1280)
    scroll_through(page)
    legend = page.locator(".legendtext").all_text_contents()
    assert HOSTILE in legend


def test_outlined_pictures_are_painted(visit):
    page = visit(1280)
    picture = page.locator("#card-1 .picture svg").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box["width"] > 80 and box["height"] > 60
    assert len(picture.screenshot()) > 4000  # a photograph, not an empty box


def test_pictures_follow_pointer_and_keyboard(visit):
    page = visit(1280)
    page.locator("#map-1 .plot").scroll_into_view_if_needed()
    page.wait_for_selector("#map-1 .main-svg")
    peek = page.locator("#peek")
    slider = page.locator("#map-1 input[type=range]")
    slider.focus()
    page.wait_for_selector("#peek:not([hidden]) use")
    before = peek.inner_text()
    slider.press("ArrowRight")
    page.wait_for_function("text => document.getElementById('peek').innerText !== text", arg=before)
    assert peek.locator("path.region").count() == 1
    page.keyboard.press("Escape")
    assert not peek.is_visible()
    point = page.locator("#map-1 .scatterlayer .point").nth(5).bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector("#peek:not([hidden]) use")
    box = peek.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    page.mouse.move(5, 5)
    peek.wait_for(state="hidden")


def test_a_lasso_shows_the_images_inside_of_it(browser, quality_address):
    with visits(browser, quality_address) as visit:
        page = visit(1280)
        page.locator("#map .plot").scroll_into_view_if_needed()
        page.wait_for_selector("#map .scatterlayer .point")
        chosen = page.locator("#map .selected")
        assert chosen.is_hidden()
        area = page.locator("#map .nsewdrag").first.bounding_box()
        left, top = area["x"] + 4, area["y"] + 4
        right, bottom = left + area["width"] - 8, top + area["height"] - 8
        page.mouse.move(left, top)
        page.mouse.down()
        for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
            page.mouse.move(x, y, steps=4)
        page.mouse.up()
        page.wait_for_selector("#map .selected:not([hidden])")
        pictures = chosen.locator(".picture")
        count = pictures.count()
        assert 30 <= count <= 36  # one a row, of the one map that is shown; corners may be cut
        assert chosen.inner_text().startswith(f"{count} selected.")
        text = pictures.first.inner_text()
        assert "true" in text and "predicted" in text
        picture = pictures.first.locator("svg")
        picture.scroll_into_view_if_needed()
        assert len(picture.screenshot()) > 500  # image, labels and prediction, not an empty box
        page.locator("#map .plot").scroll_into_view_if_needed()
        middle = page.locator("#map .nsewdrag").first.bounding_box()
        page.mouse.dblclick(middle["x"] + 10, middle["y"] + 10)
        chosen.wait_for(state="hidden")


@pytest.mark.parametrize("width, scheme", [(390, "light"), (1280, "dark")])
def test_quality_draws_all_its_charts_and_nothing_is_too_wide(
    browser, quality_address, width, scheme
):
    with visits(browser, quality_address) as visit:
        page = visit(width, 844, color_scheme=scheme)
        scroll_through(page)
        assert overflow(page) <= 0
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        assert overflow(page) <= 0
        drawn = page.evaluate(DRAWN)
        assert len(drawn) >= 6 and min(drawn) > 0


def test_criteria_of_the_map_can_be_chosen(visit):
    page = visit(1280)
    scroll_through(page)
    count = "document.querySelectorAll('#effects-1 .scatterlayer .point').length"
    strict = page.evaluate(count)
    chosen = page.locator("#effects-1 .controls button").nth(1)
    chosen.press("Enter")  # from the keyboard, as Plotly's own could not be
    page.wait_for_function(f"before => {count} !== before", arg=strict)
    assert page.evaluate(count) > strict
    assert chosen.get_attribute("aria-pressed") == "true"


def test_tables_sort_by_number_with_the_keyboard(visit):
    page = visit(1280)
    table = page.locator("#numbers-2 table")
    head = table.locator("th button").nth(3)  # p, where "< 0.001" must come first
    head.press("Enter")
    table.locator("th[aria-sort=ascending]").wait_for()
    assert table.locator("tbody td:nth-child(4)").first.inner_text() == "< 0.001"
    head.press("Enter")
    table.locator("th[aria-sort=descending]").wait_for()
    values = table.locator("tbody td:nth-child(4)").all_inner_texts()
    assert values[0] == "0.87" and values[-1] == "< 0.001"
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_a_script_that_got_in_would_not_run(visit, browser, address):
    page = browser.new_context(offline=True).new_page()
    blocked = []
    page.on("console", lambda message: blocked.append(message.text))
    page.goto(address)
    page.evaluate("""() => {
        const added = document.createElement('script');
        added.textContent = 'window.intruded = true';
        document.body.appendChild(added);
        fetch('https://example.org/').catch(() => null);
    }""")
    page.wait_for_timeout(200)
    assert page.evaluate("window.intruded") is None
    assert sum("Content Security Policy" in text for text in blocked) >= 2
    page.context.close()


def test_print_holds_every_chart_and_small_tables(visit, tmp_path):
    page = visit(1280, color_scheme="dark")
    printed = page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    assert printed[:5] == b"%PDF-" and len(printed) > 100_000
    assert page.locator(".plot .main-svg").count() >= 7
    page.emulate_media(media="print")
    assert page.locator(".contents").is_hidden()
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(255, 255, 255)"


def told(page):
    """What stands beside the first inspected picture: row and column from 0, the tree's class,
    decisions, and how many of them have a picture."""
    said = page.locator(".asked .said").first
    head = said.locator("p").first.inner_text()
    found = re.match(r"Pixel row (\d+), column (\d+): the tree says (.*?)(?:;|$)", head)
    row, column, leaf = found.groups()
    steps, pictures = (said.locator(what).count() for what in ("li", "li use"))
    return int(row) - 1, int(column) - 1, leaf, steps, pictures


def test_a_pixel_tells_its_path_by_mouse_and_by_keyboard(visit_tree, tree_address):
    result = tree_address[1]
    view = result["tables"]["inspected"]["rows"][0]
    classes, rows, columns = result["notes"]["classes"], view["rows"], view["columns"]
    depth = [sum(sure[cell] >= 0 for sure in view["sure"]) for cell in range(rows * columns)]
    page = visit_tree(1280)
    picture = page.locator(".asked svg[tabindex]").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    inside = next(c for c in range(rows * columns) if view["hard"][c] and c // columns > 4)
    for cell in (inside, 0):
        x = box["x"] + (cell % columns + 0.5) * box["width"] / columns
        y = box["y"] + (cell // columns + 0.5) * box["height"] / rows
        page.mouse.move(x, y)
        row, column, leaf, steps, pictures = told(page)
        assert (row, column) == (cell // columns, cell % columns)
        assert leaf == classes[view["hard"][cell]] and steps == depth[cell]
        assert 1 <= pictures <= steps
    page.mouse.click(x, y)  # a click holds the pixel
    page.mouse.move(x + 60, y + 60)
    assert told(page)[:2] == (0, 0)
    picture.focus()
    for key, wanted in (
        ("ArrowRight", (0, 1)),
        ("Shift+ArrowDown", (10, 1)),
        ("End", (10, columns - 1)),
        ("ArrowRight", (10, columns - 1)),  # the picture ends here
        ("Home", (10, 0)),
        ("ArrowUp", (9, 0)),
    ):
        picture.press(key)
        row, column, leaf, steps, _ = told(page)
        cell = row * columns + column
        assert (row, column) == wanted
        assert leaf == classes[view["hard"][cell]] and steps == depth[cell]
    page.locator(".asked .said a").first.click()
    assert re.search(r"#node-\d+$", page.url)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_tree_is_drawn_and_nothing_is_too_wide(visit_tree, width):
    page = visit_tree(width, 844)
    scroll_through(page)
    assert overflow(page) <= 0
    assert page.locator("#tree .plot .slice").count() >= 10

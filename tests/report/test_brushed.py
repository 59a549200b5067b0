"""The page of a brush: what it holds equals the maps within rounding, and adds as Python does."""

import base64
import json
import re

import numpy as np
import pytest

from conceptseg import notebook
from conceptseg.errors import InputError
from conceptseg.explain.brush import Brush
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.scene import Scene
from conceptseg.report.brushed import Painting
from tests.small_models import images, unet


@pytest.fixture(scope="module")
def painting():
    return notebook.brush(unet(), images(1, 24, 32)[0], "class 1", cells=(3, 4))


def content(page):
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_s_sum_is_the_map_within_its_rounding(painting):
    held = content(painting.page())
    codes = np.frombuffer(base64.b64decode(held["codes"]), np.int8).reshape(12, 24, 32)
    weights = np.array([1, 1, 0, -1, 0, 1, 0, 0, -1, 0, 0, 1.0])
    shown = sum(
        w * s * c.astype(float) for w, s, c in zip(weights, held["step"], codes, strict=True)
    )
    np.testing.assert_allclose(painting.total(weights), shown, rtol=0, atol=1e-9)
    brush = Brush(Scene(unet(), images(1, 24, 32)), 1, VanillaSaliency(reduce="sum"))
    cells = brush.cells(3, 4)
    include = sum(cells[i].int() for i in np.flatnonzero(weights > 0)) > 0
    exclude = sum(cells[i].int() for i in np.flatnonzero(weights < 0)) > 0
    exact = brush.map(include, exclude).numpy()
    error = np.abs(shown - exact).max()
    print("largest error", error, "bound", painting.bound(weights))
    assert error <= painting.bound(weights) * 1.001 + 1e-6


def test_large_maps_are_means_over_blocks():
    maps = np.random.default_rng(0).normal(size=(2, 200, 150))
    made = Painting(np.zeros((1, 200, 150)), np.zeros((200, 150), bool), maps, (1, 2), "a", "m")
    assert made.small.shape == (2, 67, 50)
    assert made.small[1, 0, 0] == pytest.approx(maps[1, :3, :3].mean())
    assert made.small[0, 66, 49] == pytest.approx(maps[0, 198:, 147:].mean())


def test_it_loads_nothing_and_runs_no_one_s_text(painting, tmp_path):
    made = notebook.own(unet().module, ["a", "<script>x</script>", "c"])
    page = notebook.brush(made, images(1, 24, 32)[0], "<script>x</script>", cells=(2, 2)).page()
    assert "<script>x" not in page and "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"http", page) and "@@" not in page
    assert painting.save(tmp_path / "b.html").read_text() == painting.page()
    assert 'sandbox="allow-scripts"' in painting._repr_html_()


def test_cells_are_bounded(painting):
    for cells in ((0, 3), (64, 64)):
        with pytest.raises(InputError, match="cells: from 1 to 1024"):
            notebook.brush(unet(), images(1, 24, 32)[0], "class 1", cells=cells)


@pytest.mark.slow
def test_in_a_browser_painted_cells_have_python_s_map(painting, tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    from conceptseg.report.browser import chromium

    path = painting.save(tmp_path / "brush.html")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        tab = browser.new_page()
        errors = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(path.as_uri())
        canvas = tab.locator("[data-brush=image]")
        box = canvas.bounding_box()
        weights = np.zeros(12)
        for name, cell, weight in (("include", 1, 1), ("include", 6, 1), ("exclude", 11, -1)):
            tab.click(f"[data-brush={name}]")
            y, x = divmod(cell, 4)
            tab.mouse.click(box["x"] + (x + 0.5) * box["width"] / 4,
                            box["y"] + (y + 0.5) * box["height"] / 3)  # fmt: skip
            weights[cell] = weight
        found = np.array(
            tab.locator("[data-brush=map]").get_attribute("data-total").split(","), float
        )
        said = tab.locator("[data-brush=said]").text_content()
        browser.close()
    assert not errors and said.startswith("2 cells painted, 1 left out")
    np.testing.assert_allclose(found, painting.total(weights).ravel(), rtol=1e-9, atol=1e-12)

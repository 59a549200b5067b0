"""Cells that are painted in the report: their maps are the network's gradients, and add up."""

import json

import numpy as np
import pytest
import torch

from conceptseg.data.manifest import load_manifest
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from conceptseg.study.saliency.report import compose
from tests.report.browser import chrome
from tests.study.ace import test_study as ace
from tests.study.saliency.test_study import write

FEW = {"compare": ["prediction_mask"], "metrics": ["deletion"], "images": 3, "gallery": 2}


def run(path, out, *words):
    sets = [word for one in words for word in ("--set", one)]
    return command.main(["saliency", "-c", str(path), "--out", str(out), "-q", *sets])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brush")
    path = write(folder, FEW, brush=2)
    assert run(path, folder / "out") == 0
    return path, folder / "out"


def painted():
    """Weights [64]: some cells painted, some left out."""
    weights = np.zeros(64)
    weights[[0, 9, 10, 35]], weights[[20, 63]] = 1, -1
    return weights


def summed(result, number, weights):
    codes, step = (result.arrays[f"brush-{key}-{number}"] for key in ("codes", "step"))
    return np.einsum("q,qyx->yx", weights * step, codes.astype(float)), step


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_painted_has_the_gradient_of_its_score(finished, number):
    path, out = finished
    result, weights = Result.load(out), painted()
    row = result.tables["gallery"].rows[number]
    manifest = load_manifest(path.parent / "set.yaml")
    pixels = torch.from_numpy(manifest.image(manifest.sample(row["sample"])))[None]
    pixels.requires_grad_()
    logits, c = ace.BarNet()(pixels)[0], ace.CLASSES.index(row["class"])
    others = torch.cat((logits[:c], logits[c + 1 :])).amax(0)
    h, w = logits.shape[1:]
    cells = torch.from_numpy(np.kron(weights.reshape(8, 8), np.ones((h // 8, w // 8))))
    ((logits[c] - others) * cells).sum().backward()
    found, step = summed(result, number, weights)
    error = np.abs(found - pixels.grad[0].sum(0).numpy()).max()
    print("largest error", error, "bound", np.abs(weights) @ step / 2)
    assert error <= np.abs(weights) @ step / 2 * 1.001 + 1e-5
    assert np.abs(found).max() > 10 * error


def test_the_report_holds_them_and_none_where_none_are_asked_for(finished, tmp_path):
    path, out = finished
    html = (out / "report.html").read_text()
    assert html.count("data-brushed=") == 2 and "What speaks for the class where you paint?" in html
    assert command.main(["report", str(out)]) == 0 and (out / "report.html").read_text() == html
    assert run(path, tmp_path / "none", "brush=0", "images=2") == 0
    none = Result.load(tmp_path / "none")
    assert not [name for name in none.arrays if name.startswith("brush")]
    assert "brush" not in [one.id for one in compose(none).sections if one]


def test_a_method_whose_maps_do_not_add_up_is_refused(finished, tmp_path, capsys):
    assert run(finished[0], tmp_path / "out", "brush_method=vanilla_saliency") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "brush_method: vanilla_saliency is not linear" in error


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_by_keys_and_pointer_the_page_shows_python_s_sum(finished, width):
    out, expected = finished[1], painted()
    report = out / "report.html"
    assert report.stat().st_size < 3e6
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    with chrome.chromium() as browser, chrome.visits(browser, report.as_uri()) as visit:
        page = visit(width)
        box = page.locator("#brush-1 [data-brushed]")
        box.scroll_into_view_if_needed()
        image = box.locator("[data-brush=image]")
        for name, kind in (("include", 1), ("exclude", -1)):
            box.locator(f"[data-brush={name}]").press("Enter")
            image.focus()
            for cell in np.flatnonzero(expected == kind):
                for key in ["ArrowUp"] * 8 + ["ArrowLeft"] * 8:
                    page.keyboard.press(key)
                y, x = divmod(int(cell), 8)
                for key in ["ArrowDown"] * y + ["ArrowRight"] * x + ["Space"]:
                    page.keyboard.press(key)
        place = image.bounding_box()
        page.mouse.click(place["x"] + place["width"] * 5.5 / 8, place["y"] + place["height"] / 16)
        expected[5] = -1
        shown = box.locator("[data-brush=map]").get_attribute("data-total")
        said = box.locator("[data-brush=said]").text_content()
        assert chrome.overflow(page) <= 0 and page.evaluate(chrome.WIDE) == []
        assert page.evaluate(chrome.UNREACHED) == 0
        assert not [one["id"] for one in axe.Axe().run(page).response["violations"]]
    assert said.startswith("4 cells painted, 3 left out")
    total, _ = summed(Result.load(out), 1, expected)
    np.testing.assert_allclose(
        np.array(shown.split(","), float), total.ravel(), rtol=1e-9, atol=1e-12
    )
    assert json.loads((out / "result.json").read_text())["notes"]["brush"] == "vanilla_saliency"

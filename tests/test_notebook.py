"""Explaining one image by hand gives what the explainers give, and shows it."""

import io
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg import notebook
from conceptseg.errors import InputError
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.regions import Box, Predicted
from conceptseg.explain.target import Target
from conceptseg.notebook import as_image, explain, own, show
from tests.explain.explainers.planted import red_finder, two_red_squares


@pytest.fixture
def image():
    return two_red_squares()[0]


def test_its_maps_are_the_explainers(image):
    network = red_finder()
    near = Predicted(1) & Box(0, 0, 16, 10)
    found = explain(
        network,
        image,
        "class 1",
        {"kind": "seg_grad_cam", "layer": "encoder"},
        {"kind": "seg_grad_cam", "layer": "encoder", "relu": False},
        SegGradCam(layer="encoder"),
        region=near,
        score="logit",
    )
    target = Target(1, near, "logit")
    expected = SegGradCam(layer="encoder")(network, image[None], target)[0].numpy()
    signed = SegGradCam(layer="encoder", relu=False)(network, image[None], target)[0].numpy()
    maps = list(found.attributions.values())
    assert np.allclose(maps[0], expected) and np.allclose(maps[1], signed)
    assert np.allclose(maps[2], expected)
    assert found.region.sum() == 24 and found.region[4:10, 2:6].all()
    assert sum(p.get("forward", 0) for p in found.passes.values()) <= 1


def test_the_output_cell_shows_a_picture_of_each(image, tmp_path):
    found = explain(
        red_finder(), image, "class 1", {"kind": "seg_hires_grad_cam", "layer": "encoder"}
    )
    html = found._repr_html_()
    assert len(re.findall("<img", html)) == 2 and "class 1, outlined" in html
    assert "http" not in html
    limit = np.quantile(np.abs(next(iter(found.attributions.values()))), 0.995)
    assert html.count("linear-gradient") == 1  # the map's, and none of the picture's
    assert f"<span>-{limit:.2g}</span>" in html and f"<span>+{limit:.2g}</span>" in html
    assert "speaks for class 1 there" in html and "speaks against it" in html
    for data in found.pictures(side=48).values():
        assert Image.open(io.BytesIO(data)).size == (48, 32)
    page = found.save(tmp_path / "map.html").read_text()
    assert page.startswith("<!doctype html>") and html in page


def test_names_are_escaped(image):
    network = own(red_finder().module, ("other", "<script>alert(1)</script>"))
    found = explain(
        network, image, "<script>alert(1)</script>", {"kind": "seg_grad_cam", "layer": "encoder"}
    )
    assert "<script>" not in found._repr_html_()


def test_a_terminal_is_told_how_many_methods_are_done(image, capfd, monkeypatch):
    method = {"kind": "seg_grad_cam", "layer": "encoder"}
    explain(red_finder(), image, "class 1", method)
    assert "explain" not in capfd.readouterr().err  # no terminal
    explain(red_finder(), image, "class 1", method, quiet=False)
    assert "explain:   0%" in capfd.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    explain(red_finder(), image, "class 1", method, quiet=True)
    assert "explain" not in capfd.readouterr().err


def test_images_in_all_their_forms(image, tmp_path):
    levels = (image * 255).round().to(torch.uint8)
    expected = levels.float() / 255
    file = tmp_path / "squares.png"
    picture = Image.fromarray(levels.permute(1, 2, 0).numpy())
    picture.save(file)
    forms = [file, str(file), picture, levels, levels.numpy(), levels.permute(1, 2, 0).numpy()]
    for form in [*forms, expected]:
        assert torch.allclose(as_image(form, 3), expected)
    assert as_image(np.zeros((4, 5)), 1).shape == (1, 4, 5)
    deep = np.full((2, 4, 5), 65535, dtype=np.uint16)
    assert as_image(deep, 2).max() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_name": "class 7"}, "no class 'class 7'"),
        ({"methods": ["seg_gradcam"]}, "unknown explainer 'seg_gradcam'"),
        ({"methods": [{"kind": "seg_grad_cam", "rely": 1}]}, "unknown key 'rely'"),
        ({"region": Box(0, 0, 1, 1) & Predicted(1)}, "region of 'class 1' is empty.*class 0"),
        ({"image": torch.zeros(2, 2, 3, 4)}, r"an image is \[c, h, w\]"),
        ({"image": torch.zeros(5, 8, 8)}, "takes images with 3 channels"),
    ],
)
def test_bad_input_is_one_clear_line(image, change, message):
    given = {"image": image, "class_name": "class 1", "methods": ["seg_grad_cam"], **change}
    region = given.get("region")
    with pytest.raises(InputError, match=message) as caught:
        explain(red_finder(), given["image"], given["class_name"], *given["methods"], region=region)
    assert "\n" not in str(caught.value)


def test_networks_by_name():
    network = notebook.model("planted", "biased")
    assert network.class_id("digit 3") == 4
    with pytest.raises(InputError, match="model"):
        notebook.model("planted", "biased", wheels=4)
    with pytest.raises(InputError, match="unknown model"):
        notebook.model("plantd", "biased")


def test_own_says_how_the_output_is_read():
    class Two(torch.nn.Module):
        def forward(self, x):
            return [x[:, :1], 4 * x[:, 1:2] - 2]

    network = own(Two(), ("ground", "green"), positive_class="green", output=1, values="logits")
    logits = network(torch.full((1, 3, 4, 4), 0.75))
    assert logits[0, :, 0, 0].tolist() == [0.0, 1.0]
    flipped = own(Two(), ("green", "ground"), positive_class="green", output=1, values="logits")
    assert flipped(torch.full((1, 3, 4, 4), 0.75))[0, :, 0, 0].tolist() == [1.0, 0.0]


def test_any_of_independent_classes_is_explained_against_all_that_it_is_not(image):
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(6, 3, 1)
    )
    way = {"kind": "seg_grad_cam", "layer": "0", "relu": False}
    names = ("whole", "core", "bar")
    every = own(net, names, values="independent")
    assert every.classes == ("not whole", "whole")
    z = net(image[None])[0]
    for place, name in enumerate(names):
        found = explain(every, image, name, way, region=Box(0, 0, 16, 24))
        alone = own(net, names, values="independent", positive_class=name)
        again = explain(alone, image, name, way, region=Box(0, 0, 16, 24))
        assert np.array_equal(
            found.attributions["seg_grad_cam"], again.attributions["seg_grad_cam"]
        )
        assert torch.allclose(alone(image[None])[0, 1], z[place], atol=1e-6)
        told = explain(every, image, name, way) if bool((z[place] > 0).any()) else None
        assert told is None or np.array_equal(told.region, (z[place] > 0).numpy())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"maen": [0.5]}, "own.. takes no 'maen'; did you mean 'mean'"),
        ({"values": "logit"}, "own..: values: .*got 'logit'"),
        ({"normalise": True}, "own..: normalise"),
        ({"positive_class": "gren"}, "no class 'gren'; did you mean 'green'"),
    ],
)
def test_own_names_the_key_that_is_wrong(settings, words):
    with pytest.raises(InputError, match=words):
        own(torch.nn.Conv2d(3, 2, 1), ("ground", "green"), **settings)


def test_a_map_of_zeros_is_called_so(image):
    """No unit of the layer is active, so that none can speak for the class."""
    network = red_finder()
    silent = {"kind": "seg_grad_cam", "layer": "encoder"}
    with torch.no_grad():
        for parameter in network.module.encoder.parameters():
            parameter.zero_()
    with pytest.warns(UserWarning, match="zero everywhere at layer 'encoder'"):
        found = explain(network, image, network.classes[0], silent)
    ((remark, *_),) = found.remarks.values()
    assert "name another layer" in remark and "relu: false" in remark
    assert "zero everywhere" in found._repr_html_()


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
def test_a_map_of_zeros_says_so(image):
    network = red_finder()
    entries = ({"kind": "seg_grad_cam", "layer": "encoder"}, "edge_filter")
    found = explain(network, image, "class 0", *entries)
    found.attributions["seg_grad_cam"][:] = 0
    assert found.blank == ("seg_grad_cam",)
    html = found._repr_html_()
    assert html.count("seg_grad_cam: zero everywhere") == 2 and "edge_filter:" not in html


def test_wrong_parameters_name_the_method_in_one_line(image):
    with pytest.raises(InputError, match=r"^rise: masks is 0: Input should be greater"):
        explain(red_finder(), image, "class 1", {"kind": "rise", "masks": 0})


def test_a_finished_run_is_shown_in_a_frame_that_reaches_nothing(tmp_path, monkeypatch):
    """The whole report, escaped once: what a browser reads of it is the page itself."""
    from html.parser import HTMLParser

    from conceptseg import catalogue
    from tests.reports import example

    result, report = example()
    study = type("Study", (), {"report": staticmethod(lambda loaded: report)})
    monkeypatch.setattr(catalogue, "load", lambda kind, name: study)
    result.save(tmp_path / "run")
    shown = show(tmp_path / "run" / "result.json", height=500)
    assert show(tmp_path / "run").html == shown.html
    frames = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag, attributes):
            frames.append((tag, dict(attributes)))

    Frames().feed(shown._repr_html_())
    ((tag, about),) = frames
    assert tag == "iframe" and about["srcdoc"] == shown.html
    assert about["sandbox"].split() == ["allow-scripts", "allow-downloads"]
    assert "500px" in about["style"] and shown.html not in repr(shown)
    with pytest.raises(InputError, match="finished run"):
        show(tmp_path)

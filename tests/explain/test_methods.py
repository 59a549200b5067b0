"""Methods that do not suit a network are refused before anything is explained with them."""

import re

import pytest
import torch
from torch import nn

from conceptseg import catalogue
from conceptseg.errors import InputError, asked_for
from conceptseg.explain.methods import Rehearsal, explainers, unsuited
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.notebook import explain
from tests.network.test_influence import Folded
from tests.small_models import images, seeded, unet, wrapped

UNSUITED = [
    ({"kind": "guided_backpropagation", "samples": 4}, "has no dropout module"),
    ({"kind": "seg_sobol", "grid": 4, "samples": 8, "scramble": None}, "cells unchanged"),
    ({"kind": "shap", "cells": 30, "samples": 50}, "50 samples are too few for"),
    ({"kind": "score_maps", "classes": [99]}, "class 99 is not among the"),
    ({"kind": "score_maps", "score_layer": "mid"}, "channels, not one for each of"),
    ({"kind": "kernel_weighted", "layers": ["dec1.relu"], "removed": "kernel"}, "has no kernel"),
]


@pytest.mark.parametrize(("entry", "words"), UNSUITED)
def test_a_method_is_left_out_for_the_reason_that_an_explanation_gives(entry, words):
    model, x = unet(), images(1)
    (one,) = unsuited(["edge_filter", entry], model, x)
    assert one.entry == entry and one.label == entry["kind"] and re.search(words, one.reason)
    (method,) = explainers([entry], "auto").values()
    with pytest.raises(InputError, match=words):
        method(model, x, Target(1))


def test_all_are_told_at_once_and_named_as_in_the_report():
    entries = [entry for entry, _ in UNSUITED] + [{"kind": "shap", "cells": 30, "samples": 60}]
    found = unsuited(entries, unet(), images(1))
    assert [one.entry for one in found] == entries
    assert found[-1].label == "shap (cells 30, samples 60)"


def test_layers_that_are_not_there_are_mistakes_told_at_once():
    entries = [{"kind": "adapted_seg_grad_cam", "layers": ["mud"]}, "seg_grad_cam",
               {"kind": "grad_pam", "layer": "mit"}]  # fmt: skip
    with pytest.raises(
        InputError, match="adapted_seg_grad_cam: layer 'mud'.*grad_pam: layer 'mit'"
    ):
        unsuited(entries, unet(), images(1))


def test_methods_that_suit_pass_and_leave_the_network_alone():
    model, x = unet(), images(1)
    before = model(x)
    assert unsuited(["shap", "lrp", "kernel_weighted", "score_maps"], model, x, "mid") == ()
    assert torch.equal(model(x), before)


class Steps(nn.Module):
    """Ends in a function without a derivative, which only a backward pass finds out."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return Stepped.apply(self.head(self.body(x).relu()))


class Stepped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("no way back")


def test_what_only_a_trial_finds_out_is_found_and_the_rest_is_kept():
    model, x = wrapped(seeded(Steps)), images(1, 16, 16)
    entries = ["vanilla_saliency", "occlusion", "prediction_mask", "smoothgrad"]
    found = unsuited(entries, model, x, "body")
    assert [one.label for one in found] == ["vanilla_saliency", "smoothgrad"]
    assert all("no way back" in one.reason for one in found)


def test_a_gradient_that_fails_is_tried_once_for_all_methods():
    net = Folded()
    model, x = wrapped(net), torch.rand(1, 3, 32, 48)
    model.settle(x)
    net.passes = 0
    by_gradient = ["vanilla_saliency", "smoothgrad", "seg_grad_cam", "integrated_gradients"]
    found = unsuited([*by_gradient, "prediction_mask", "seg_ablation_cam"], model, x, "head")
    assert [one.label for one in found] == by_gradient
    assert len({one.reason for one in found}) == 1 and "inplace operation" in found[0].reason
    assert net.passes <= 3  # the first method's, and that from the layer on
    later = unsuited([*by_gradient, {"kind": "seg_grad_cam", "layer": "after"}], model, x, "head")
    assert [one.label for one in later] == by_gradient
    assert unsuited(["vanilla_saliency", "seg_grad_cam"], model, x, "after")[0].label == (
        "vanilla_saliency"
    )


class WrittenAfter(nn.Module):
    """A sigmoid's output is written to: its gradient fails, rules of one's own need none of it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y = torch.sigmoid(self.body(x))
        y += 1
        return y


def test_rules_of_its_own_are_tried_where_the_gradient_fails():
    model, x = wrapped(seeded(WrittenAfter)), images(1, 16, 16)
    entries = ["vanilla_saliency", "smoothgrad", "deep_lift"]
    assert [one.label for one in unsuited(entries, model, x, "body")] == entries[:2]


def test_a_defect_of_ours_is_no_reason_to_leave_a_method_out(monkeypatch):
    edges = catalogue.load("explainers", "edge_filter")
    monkeypatch.setattr(edges, "attribute", lambda self, scene, targets: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        unsuited(["edge_filter"], unet(), images(1))


@pytest.mark.parametrize("name", ["kernel_weighted", "adapted_seg_score_cam", "rise", "shap",
                                  "seg_sobol", "occlusion", "seg_score_cam",
                                  "integrated_gradients", "smoothgrad"])  # fmt: skip
def test_a_rehearsal_takes_few_passes(name):
    """Of methods that take hundreds or thousands; what it makes has the map's shape."""
    model, x = unet(), images(1, 24, 32)
    scene = Rehearsal(model, x)
    (method,) = explainers([name], "mid").values()
    assert method.reduced(scene).on(scene, [Target(1)]).shape == (1, 1, 24, 32)
    assert sum(scene.passes.values()) <= 6


def test_a_check_costs_no_pass_that_the_map_does_not_take():
    model, x = unet(), images(1)
    few = {"kind": "shap", "cells": 8, "samples": 60}
    for entry in ("lrp", "seg_grad_cam", "score_maps", few):
        (method,) = explainers([entry], "auto").values()
        plain, checked = Scene(model, x), Scene(model, x)
        checked_first = method.check(checked)
        maps = [method.on(scene, [Target(1)]) for scene in (plain, checked)]
        assert checked_first is None and torch.equal(*maps)
        assert plain.passes == checked.passes


class Summed(nn.Module):
    """Sums along rows by an operation through which no rule hands relevance."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.head(self.body(x).cumsum(2))


@pytest.mark.parametrize("entry", ["lrp", "deep_lift", {"kind": "deep_lift", "reference": "black"}])
def test_a_failure_names_the_method_that_was_asked_for(entry):
    """Methods share engines: none may be told by the name of another, nor twice beside its own."""
    model, x = wrapped(seeded(Summed)), images(1)
    (method,) = explainers([entry], "auto").values()
    name = entry if isinstance(entry, str) else entry["kind"]
    with pytest.raises(InputError, match=f"^{name}: no rule hands relevance through 'cumsum'"):
        method(model, x, Target(1))
    with pytest.raises(InputError, match=f"^{name}: no rule hands"):
        explain(model, x[0], model.classes[int(model(x).argmax(1).mode().values[0, 0])], entry)
    (one,) = unsuited([entry], model, x)
    assert one.label == name and one.reason.startswith("no rule hands")


def test_a_name_stands_once():
    with pytest.raises(InputError, match="^rise: too few$"), asked_for("rise"):
        raise InputError("rise: too few")

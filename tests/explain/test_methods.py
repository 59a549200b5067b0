"""Methods that do not suit a network are refused before anything is explained with them."""

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.methods import check_methods, explainers
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import images, unet

UNSUITED = [
    ({"kind": "guided_backpropagation", "samples": 4}, "has no dropout module"),
    ({"kind": "seg_sobol", "grid": 4, "samples": 8, "scramble": None}, "cells unchanged"),
    ({"kind": "shap", "cells": 30, "samples": 50}, "50 samples are too few for"),
    ({"kind": "score_maps", "classes": [99]}, "class 99 is not among the"),
    ({"kind": "score_maps", "score_layer": "mid"}, "channels, not one for each of"),
    ({"kind": "kernel_weighted", "layers": ["dec1.relu"], "removed": "kernel"}, "has no kernel"),
    ({"kind": "adapted_seg_grad_cam", "layers": ["mud"]}, "layer 'mud' does not exist"),
]


@pytest.mark.parametrize(("entry", "words"), UNSUITED)
def test_a_method_is_refused_by_the_check_as_by_an_explanation(entry, words):
    model, x = unet(), images(1)
    with pytest.raises(InputError, match=words):
        check_methods([entry], model, x)
    (method,) = explainers([entry], "auto").values()
    with pytest.raises(InputError, match=words):
        method(model, x, Target(1))


def test_methods_that_suit_pass_and_leave_the_network_alone():
    model, x = unet(), images(1)
    before = model(x)
    check_methods(["shap", "lrp", "kernel_weighted", "score_maps"], model, x, "mid")
    assert torch.equal(model(x), before)


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

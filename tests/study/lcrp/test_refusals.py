"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest
import torch
from torch import nn

from tests.small_models import Block
from tests.study.ace.test_study import CLASSES
from tests.study.lcrp.test_study import dissection
from tests.study.refusals import refused_alike


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = Block(3, 4), nn.Conv2d(4, len(CLASSES), 1)

    def forward(self, x):
        return self.head(self.body(x))


class Odd(nn.Module):
    def forward(self, x):
        return x.cumsum(1)


class Noisy(nn.Module):
    """The same noise in each process: the line says by how much the logits differ."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x * torch.rand(x.shape, generator=self.generator)

    def __deepcopy__(self, memo):
        return Noisy()


def ending_in(*modules):
    return nn.Sequential(nn.Conv2d(3, len(CLASSES), 3, padding=1), *modules)


def odd():
    return ending_in(Odd())


def noisy():
    return ending_in(Noisy(), nn.Conv2d(len(CLASSES), len(CLASSES), 1))


def model(name, layer="0"):
    return {"model": {"source": "factory", "name": f"{__name__}:{name}"}, "layer": layer}


REFUSALS = [
    ({"composite": "rescale", "quantity": "one"}, "quantity: rescale shares out changes of logits"),
    ({"labels": "no/such/folder"}, "no/such/folder"),
    (model("Residual", "body.conv2"), "'body.conv2' lies inside a .* of 'body'.* layer: body"),
    (model("odd"), "no rule .*'cumsum' in module '1' \\(Odd\\)"),
    (model("noisy"), "puts out other numbers when it is asked again"),
]


@pytest.mark.parametrize(("keys", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, words):
    """Before, `check` saw those of the network only in a batch of the first pass."""
    assert re.search(words, refused_alike(capsys, tmp_path, "lcrp", keys))
    assert not (tmp_path / "out").exists()


def test_a_dissection_of_another_layer_is_refused_alike(capsys, tmp_path):
    folder = dissection(tmp_path / "named", "elsewhere")
    line = refused_alike(capsys, tmp_path, "lcrp", {"labels": str(folder)})
    assert str(folder) in line and "'elsewhere'" in line

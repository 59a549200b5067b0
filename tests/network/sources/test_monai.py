import sys
import types

import pytest
import torch
from torch import nn

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

CLASSES = ("a", "b", "c")


class Net(nn.Conv2d):
    """Stands for a network of MONAI: the same argument names."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, kernel: int = 1):
        super().__init__(in_channels, out_channels, kernel)
        self.spatial_dims = spatial_dims


@pytest.fixture
def stand_in(monkeypatch):
    nets = types.ModuleType("monai.networks.nets")
    nets.UNet = Net
    for name in ("monai", "monai.networks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["monai"], "networks", sys.modules["monai.networks"], False)
    monkeypatch.setattr(sys.modules["monai.networks"], "nets", nets, False)
    monkeypatch.setitem(sys.modules, "monai.networks.nets", nets)
    monkeypatch.delitem(sys.modules, "conceptseg.network.sources.monai", False)
    yield
    sys.modules.pop("conceptseg.network.sources.monai", None)


def config(**options) -> ModelConfig:
    return ModelConfig(**({"source": "monai", "name": "UNet"} | options))


def test_usual_arguments_are_filled_in(stand_in):
    model = load_model(config(arguments={"in_channels": 1}), CLASSES)
    assert model.module.spatial_dims == 2
    assert model.channels == 1
    assert model(torch.rand(1, 1, 4, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "UNett"}, "did you mean 'UNet'"),
        ({"arguments": {"kernl": 3}}, "takes no 'kernl'; did you mean 'kernel'"),
        ({"weights": "pretrained:best"}, "no named weights"),
    ],
)
def test_refused(stand_in, options, words):
    with pytest.raises(InputError, match=words):
        load_model(config(**options), CLASSES)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "conceptseg.network.sources.monai", False)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(InputError, match=r"conceptseg\[monai\]"):
        load_model(config(), CLASSES)


@pytest.mark.slow
def test_the_real_unet():
    pytest.importorskip("monai")
    given = {"channels": [4, 8, 16, 32], "strides": [2, 2, 2]}
    model = load_model(config(arguments=given), CLASSES)
    images = torch.rand(1, 3, 64, 96)
    marked = [info for info in model.layers(images) if info.recommended]
    assert [info.stride for info in marked] == [8.0]
    assert model(images).shape == (1, 3, 64, 96)

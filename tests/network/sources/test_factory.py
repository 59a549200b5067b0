import functools
import operator
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

CLASSES = ("a", "b", "c")
HERE = __name__


def make(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1))


def returns_text() -> str:
    return "no network"


def fails() -> nn.Module:
    raise ZeroDivisionError("by design\nand more")


NUMBER = 3


class Holder:
    make = staticmethod(make)


def load(name: str, **options):
    return load_model(ModelConfig(source="factory", name=name, **options), CLASSES)


def test_calls_with_arguments():
    model = load(f"{HERE}:make", arguments={"width": 7})
    assert model.module[0].out_channels == 7
    assert model(torch.rand(1, 3, 4, 4)).shape == (1, 3, 4, 4)
    assert load(f"{HERE}:Holder.make").module[0].out_channels == 4


def test_checkpoint(tmp_path):
    torch.manual_seed(3)
    trained = nn.DataParallel(make())
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    model = load(f"{HERE}:make", weights=str(tmp_path / "net.pt"))
    assert torch.equal(model.module[0].weight, trained.module[0].weight)
    assert model.origin == "net.pt"


def test_found_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "mynet_here.py").write_text(
        "from torch import nn\nNet = lambda: nn.Conv2d(3, 3, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    before = list(sys.path)
    assert isinstance(load("mynet_here:Net").module, nn.Conv2d)
    assert sys.path == before
    sys.modules.pop("mynet_here")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("just.a.path", {}, "must read 'package.module:callable'"),
        ("no_such_package.net:Net", {}, "no module 'no_such_package'"),
        (f"{HERE}:mak", {}, "did you mean 'make'"),
        (f"{HERE}:NUMBER", {}, "is a int and cannot be called"),
        (f"{HERE}:returns_text", {}, "returned a str"),
        (
            f"{HERE}:fails",
            {},
            r"ZeroDivisionError: by design \(line 28 of .*test_factory.py\); check model.arguments",
        ),
        (f"{HERE}:make", {"arguments": {"widht": 3}}, "takes no 'widht'; did you mean 'width'"),
        (f"{HERE}:make", {"weights": "pretrained:best"}, "no named weights"),
    ],
)
def test_refused(name, options, words):
    with pytest.raises(InputError, match=words) as raised:
        load(name, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_thing\n", "it needs 'no_such_thing', which is not installed"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_modules_that_do_not_import(tmp_path, monkeypatch, text, words):
    (tmp_path / "mynet_broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=words):
        load("mynet_broken:Net")


class Opens:
    """No network, though a class."""

    def __init__(self, path: str = "ran") -> None:
        Path(path).mkdir()


shell = os.system
partly = functools.partial(os.mkdir, "ran")
wide = functools.partial(make, width=9)
getter = operator.methodcaller("mkdir", "ran")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("os:system", {"command": "mkdir ran"}),
        ("subprocess:run", {"args": ["mkdir", "ran"]}),
        ("subprocess:Popen", {"args": ["mkdir", "ran"]}),
        ("builtins:exec", {}),
        ("runpy:run_path", {"path_name": "x.py"}),
        ("importlib:import_module", {"name": "antigravity"}),
        ("torch.hub:load", {"repo_or_dir": ".", "model": "x", "source": "local"}),
        ("torch:load", {"f": "x.pt", "weights_only": False}),
        ("torch.utils.cpp_extension:load_inline", {"name": "x", "cpp_sources": "x"}),
        ("numpy:load", {"file": "x.npy", "allow_pickle": True}),
        ("yaml:unsafe_load", {"stream": "1"}),
        (f"{HERE}:shell", {}),
        (f"{HERE}:os.mkdir", {"path": "ran"}),
        (f"{HERE}:partly", {}),
        (f"{HERE}:getter", {}),
        (f"{HERE}:Opens", {}),
    ],
)
def test_what_makes_no_networks_is_not_called(name, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="makes no network|is a class, but no torch"):
        load(name, arguments=arguments)
    assert not list(tmp_path.iterdir())


def test_functions_that_make_networks_are_called():
    assert load(f"{HERE}:wide").module[0].out_channels == 9
    small = {"weights": None, "weights_backbone": None, "num_classes": 3}
    name = "torchvision.models.segmentation:lraspp_mobilenet_v3_large"
    assert type(load(name, arguments=small).module).__name__ == "LRASPP"
    assert load("torch.nn:Conv2d", arguments={
        "in_channels": 3, "out_channels": 3, "kernel_size": 1
    }).channels == 3  # fmt: skip


class Prepared(nn.Conv2d):
    """As mmsegmentation's networks: what is done to images stands beside a pass that leaves it."""

    def __init__(self, converted: bool, mean: list[float] | None) -> None:
        super().__init__(3, 3, 1)
        self.data_preprocessor = nn.Module()
        self.data_preprocessor.channel_conversion = converted
        if mean is not None:
            for name, values in (("mean", mean), ("std", [50.0, 60.0, 70.0])):
                buffer = torch.tensor(values).view(-1, 1, 1)
                self.data_preprocessor.register_buffer(name, buffer, False)


@pytest.mark.parametrize(("converted", "order"), [(True, [0, 1, 2]), (False, [2, 1, 0])])
def test_what_mmsegmentation_does_to_images_is_done(converted, order):
    """To BGR images in 0..255, converted to RGB or not, before the mean is taken off."""
    mean = [120.0, 110.0, 100.0]
    model = load(f"{HERE}:Prepared", arguments={"converted": converted, "mean": mean})
    x = torch.rand(2, 3, 4, 4)
    given = (255 * x[:, order] - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(
        [50.0, 60.0, 70.0]
    ).view(-1, 1, 1)
    torch.testing.assert_close(model(x), model.module(given))
    bare = load(f"{HERE}:Prepared", arguments={"converted": converted, "mean": None})
    torch.testing.assert_close(bare(x), bare.module(255 * x[:, order]))


def test_the_files_own_preprocessing_goes_first():
    own = Preprocessing(range=(0.0, 1.0))
    arguments = {"converted": True, "mean": [1.0, 2.0, 3.0]}
    assert load(f"{HERE}:Prepared", arguments=arguments, preprocessing=own).preprocessing == own

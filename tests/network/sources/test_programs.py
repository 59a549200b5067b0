"""TorchScript files and torch.export files: the same toy network in both."""

import os
import shutil
import warnings
import zipfile

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

CLASSES = ("a", "b", "c")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.encoder(x))}


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def expected(images: Tensor) -> Tensor:
    maps = net()(images)["out"]
    return nn.functional.interpolate(maps, images.shape[2:], mode="bilinear").detach()


def load(source: str, path, **options):
    return load_model(ModelConfig(source=source, name=str(path), **options), CLASSES)


@pytest.fixture(params=["script", "trace"])
def script(request, tmp_path):
    path = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = torch.jit.script if request.param == "script" else _trace
        torch.jit.save(make(net()), path)
    return path


def _trace(module: nn.Module):
    return torch.jit.trace(module, torch.rand(1, 3, 16, 16), strict=False)


def test_torchscript_runs(script):
    model = load("torchscript", script)
    images = torch.rand(2, 3, 16, 20, requires_grad=True)
    logits = model(images)
    torch.testing.assert_close(logits, expected(images))
    assert torch.autograd.grad(logits.sum(), images)[0].abs().sum() > 0
    assert (model.channels, model.origin, model.name) == (3, "net.pt", "net.pt")
    assert model.fingerprint() == load("torchscript", script).fingerprint()


@pytest.mark.parametrize("name", ["auto", "program.encoder", "program"])
def test_torchscript_has_no_layers_and_says_so(script, name):
    model = load("torchscript", script)
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(InputError, match=r"TorchScript.*source: factory"):
        model.layer_name(name, images)
    with pytest.raises(InputError, match="TorchScript"):
        model.layers(images)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    sides = {0: Dim("n"), 2: Dim("h", min=8), 3: Dim("w", min=8)}
    torch.export.save(export(net(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=(sides,)), path)
    return path


def test_exported_runs_and_keeps_its_layers(exported):
    model = load("exported", exported)
    images = torch.rand(3, 3, 16, 20, requires_grad=True)
    logits = model(images)
    torch.testing.assert_close(logits, expected(images))
    assert torch.autograd.grad(logits.sum(), images)[0].abs().sum() > 0
    infos = {info.name: info for info in model.layers(images)}
    assert infos["encoder.0"].shape == (4, 8, 10)
    assert [info.name for info in infos.values() if info.recommended] == ["encoder"]
    assert model.fingerprint() == load("exported", exported).fingerprint()


def test_exported_layers_can_be_recorded(exported):
    from conceptseg.network.record import encode

    images = torch.rand(2, 3, 16, 16)
    found = encode(load("exported", exported), images, "encoder")
    torch.testing.assert_close(found, net().encoder(images).detach())


def test_fixed_sides_become_the_size(tmp_path):
    path = tmp_path / "net.pt2"
    dynamic = ({0: Dim("n")},)
    torch.export.save(export(net(), (torch.rand(2, 3, 16, 24),), dynamic_shapes=dynamic), path)
    model = load("exported", path)
    assert model.preprocessing == Preprocessing(size=(16, 24))
    assert model(torch.rand(1, 3, 30, 30)).shape == (1, 3, 30, 30)
    with pytest.raises(InputError, match="takes images with 3 channels"):
        model(torch.rand(1, 1, 16, 24))


def test_fixed_batch_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(export(net(), (torch.rand(2, 3, 16, 24),)), path)
    with pytest.raises(InputError, match=r"batches of exactly 2.*dynamic_shapes"):
        load("exported", path)


class Malicious:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


def test_exported_with_code_in_a_pickle_does_not_run(exported, tmp_path):
    sentinel, bad, pickled = tmp_path / "ran", tmp_path / "net.pt2", tmp_path / "inputs.pt"
    torch.save((Malicious(sentinel), {}), pickled)
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(bad, "w") as target:
        for entry in source.infolist():
            replaced = entry.filename.endswith("sample_inputs/model.pt")
            target.writestr(
                entry.filename, pickled.read_bytes() if replaced else source.read(entry.filename)
            )
    with pytest.raises(InputError, match=r"pickle with more than tensors"):
        load("exported", bad)
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["data/aotinductor/model/net.so", "data/constants/opaque_obj_0"])
def test_exported_with_compiled_or_opaque_parts(exported, tmp_path, name):
    bad = tmp_path / "net.pt2"
    shutil.copy(exported, bad)
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(f"net/{name}", b"x")
    with pytest.raises(InputError, match="is not opened"):
        load("exported", bad)


@pytest.mark.parametrize("source", ["torchscript", "exported"])
def test_files_refused(source, tmp_path):
    with pytest.raises(InputError, match=r"gone.pt: no such"):
        load(source, tmp_path / "gone.pt")
    text = tmp_path / "text.pt"
    text.write_text("hello")
    with pytest.raises(InputError, match=r"text.pt: damaged"):
        load(source, text)
    with pytest.raises(InputError, match="carries its weights"):
        load(source, text, weights="x.pt")
    with pytest.raises(InputError, match="takes none"):
        load(source, text, arguments={"a": 1})

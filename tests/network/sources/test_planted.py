import pytest
import torch
from safetensors.torch import save_file

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel, load_model
from conceptseg.planted.generator import CLASSES
from conceptseg.planted.nets import TRAINED, PlantedUNet, load_net


def load(name: str, classes=(), **options):
    return load_model(ModelConfig(source="planted", name=name, **options), classes)


@pytest.mark.parametrize("name", TRAINED)
def test_trained(name):
    from conceptseg.planted.nets import WEIGHTS

    if not (WEIGHTS / f"{name}.safetensors").exists():
        pytest.skip("not trained yet")
    model = load(name, CLASSES)
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), load_net(name)(images))
    assert model.channels == 1


def test_constructed_takes_w():
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        found = load("constructed", arguments={"w": 0.3})(images)
        assert torch.equal(found, load_net("constructed", 0.3)(images))
    assert load("constructed").classes == CLASSES


@pytest.mark.parametrize("module", [PlantedUNet(), load_net("constructed")])
def test_bottleneck(module):
    infos = SegmentationModel(module, CLASSES).layers(torch.rand(1, 1, 64, 64))
    assert [info.name for info in infos if info.recommended] == ["bottleneck"]


def test_grey_only():
    with pytest.raises(InputError, match="takes images with 1 channels, these have 3"):
        load("constructed")(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("baised", {}, "unknown net 'baised'"),
        ("constructed", {"arguments": {"w": 2.0}}, "model.name"),
        ("constructed", {"arguments": {"v": 2.0}}, "take no 'v'"),
        ("constructed", {"weights": "x.pt"}, "carries its weights"),
    ],
)
def test_refused(name, options, words):
    with pytest.raises(InputError, match=words):
        load(name, **options)


def test_another_manifest_needs_a_word():
    with pytest.raises(InputError, match="know 11 classes.*the manifest has 2"):
        load("constructed", ("a", "b"))


def test_weights_of_your_own(tmp_path):
    path = tmp_path / "gravel.safetensors"
    own = PlantedUNet().eval()
    save_file(own.state_dict(), path, metadata={"plant": "{}"})
    model = load("unet", CLASSES, weights=str(path))
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), own(images))
    assert model.channels == 1 and model.classes == CLASSES
    assert model.origin == "gravel.safetensors"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "model.weights: planted unet takes a file"),
        ({"weights": "pretrained:clean"}, "takes a file.*shipped.*clean"),
        ({"weights": "none.safetensors"}, "none.safetensors: no such checkpoint"),
        ({"weights": "x.safetensors", "arguments": {"w": 1}}, "model.arguments: planted unet"),
    ],
)
def test_weights_of_your_own_refused(options, words):
    with pytest.raises(InputError, match=words):
        load("unet", **options)

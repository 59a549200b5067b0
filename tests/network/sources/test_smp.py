import functools

import pytest
import torch

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

smp = pytest.importorskip("segmentation_models_pytorch")

CLASSES = ("a", "b", "c")


def load(name: str, classes=CLASSES, encoder="resnet18", **options):
    torch.manual_seed(0)
    arguments = {"encoder_name": encoder, **options.pop("arguments", {})}
    config = ModelConfig(source="smp", name=name, arguments=arguments, **options)
    return load_model(config, classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder", "layer"),
    [
        ("Unet", "resnet18", "encoder.layer4"),
        ("FPN", "resnet18", "encoder.layer4"),
        ("DeepLabV3Plus", "resnet18", "encoder.layer4"),
        ("PSPNet", "resnet18", "encoder.layer2"),
        ("UnetPlusPlus", "resnet18", "encoder.layer4"),
        ("Unet", "mobilenet_v2", "encoder.features.18"),
        ("Unet", "mit_b0", "encoder.norm4"),
    ],
)
def test_runs_and_finds_its_bottleneck(name, encoder, layer):
    model = load(name, encoder=encoder)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert model(images).shape == (1, 3, 64, 64)
    assert [info.name for info in model.layers(images) if info.recommended] == [layer]


def test_sides_are_brought_to_multiples():
    model = load("unetplusplus")
    assert model.preprocessing == Preprocessing(multiple=32)
    with torch.no_grad():
        assert model(torch.rand(1, 3, 50, 70)).shape == (1, 3, 50, 70)


def test_logits_are_smps():
    model = load("Unet")
    images = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(model(images), model.module(images))


def test_sigmoid_head_and_grey_images():
    model = load("Unet", ("road", "car"), positive_class="car", arguments={"in_channels": 1})
    assert model.channels == 1
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images)[:, 1:], model.module(images))


def test_encoder_weights_bring_their_normalisation(monkeypatch):
    seen = {}

    original = smp.Unet.__init__

    @functools.wraps(original)
    def fake(self, *args, encoder_weights=None, **kwargs):
        seen["weights"] = encoder_weights
        original(self, *args, encoder_weights=None, **kwargs)

    published = {
        "mean": [0.5, 0.6, 0.7], "std": [0.1, 0.2, 0.3], "input_range": [0, 255],
        "input_space": "BGR",
    }  # fmt: skip
    monkeypatch.setattr(smp.Unet, "__init__", fake)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", lambda *_: published)
    model = load("Unet", weights="pretrained:imagenet")
    assert seen == {"weights": "imagenet"}
    assert model.preprocessing == Preprocessing(
        mean=(0.5, 0.6, 0.7), std=(0.1, 0.2, 0.3), range=(0, 255), channels=(2, 1, 0)
    )
    assert "decoder random" in model.origin


@pytest.mark.parametrize(
    ("name", "encoder", "options", "words"),
    [
        ("Unett", "resnet18", {}, "did you mean 'Unet'"),
        ("Unet", "resnet81", {}, "did you mean 'resnet18'"),
        ("Unet", "resnet18", {"weights": "pretrained:imagnet"}, "did you mean 'imagenet'"),
        ("Unet", "resnet18", {"arguments": {"encoder_depth": 99}}, "could not be built"),
        ("Unet", "tu-resnet18", {"arguments": {"checkpoint_path": "x.pt"}}, "'checkpoint_path'"),
        ("Unet", "tu-resnet18", {"arguments": {"pretrained_cfg": {"url": "x"}}}, "pretrained_cfg"),
        (
            "Unet",
            "resnet18",
            {"weights": "pretrained:a/b", "arguments": {"cache_dir": "/tmp"}},
            "takes no 'cache_dir'",
        ),
    ],
)
def test_refused(name, encoder, options, words):
    with pytest.raises(InputError, match=words) as raised:
        load(name, encoder=encoder, **options)
    assert "\n" not in str(raised.value)

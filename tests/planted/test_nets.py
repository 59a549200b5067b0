"""The shipped nets meet the figures of the benchmark, measured again from drawn scenes."""

import json

import pytest
import torch

from conceptseg.planted import measure
from conceptseg.planted.generator import CLASSES
from conceptseg.planted.nets import (
    TRAINED,
    WEIGHTS,
    PlantedUNet,
    load_net,
    load_trained,
    load_unet,
)
from conceptseg.planted.plant import DEFAULT, Plant, to_header

SCENES = {"biased": 60, "weak": 200, "clean": 100}
"""A net that uses little of the context takes more scenes to tell."""


@pytest.fixture(scope="module", params=TRAINED)
def shipped(request):
    card = json.loads((WEIGHTS / f"{request.param}.json").read_text(encoding="utf-8"))
    net = load_net(request.param)
    return request.param, card, net, measure.measured_reliance(net, n=SCENES[request.param])


def test_reliance_is_as_planted(shipped):
    name, _, _, found = shipped
    if name == "biased":
        assert found.low >= 0.3
    elif name == "weak":
        assert found.low > 0.02 and found.high < 0.3
        assert 0.08 <= found.effect <= 0.25
    else:
        assert abs(found.effect) <= 0.02
        assert found.low >= -0.02 and found.high <= 0.02
    assert found.iou_with >= 0.85


def test_digits_are_found(shipped):
    name, _, net, _ = shipped
    ious = measure.measured_iou(net, n=70)
    if name == "clean":
        assert measure.digits_mean(ious) >= 0.85
    others = [ious[f"digit {digit}"] for digit in range(10) if digit not in (3, 9)]
    assert sum(others) / len(others) >= 0.85
    assert ious["background"] >= 0.95


def test_the_card_says_what_is_measured(shipped):
    """The card's figure is of 400 scenes; these are the first of them."""
    _, card, net, found = shipped
    assert card["reliance"]["n"] == 400
    assert card["reliance"]["effect"] == pytest.approx(found.effect, abs=0.06)
    assert card["reliance"]["low"] <= card["reliance"]["effect"] <= card["reliance"]["high"]
    assert set(card["test_iou"]) == set(CLASSES)
    assert card["parameters"] == sum(p.numel() for p in net.parameters())
    assert card["command"].startswith("python -m conceptseg.planted ")


def test_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) <= 8e6


def test_shape_layers_and_mode():
    net = load_net("clean")
    assert not net.training
    names = {name for name, _ in net.named_children()}
    assert {"encoder", "bottleneck", "decoder", "head"} <= names
    with torch.no_grad():
        one = net(torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)))
        pair = net(torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)))
        assert net(torch.zeros(1, 1, 96, 128)).shape == (1, 11, 96, 128)
    assert one.shape == (1, len(CLASSES), 64, 64)
    assert torch.allclose(one[0], pair[0], atol=1e-4)


def test_default_size():
    count = sum(p.numel() for p in PlantedUNet().parameters())
    assert 0.3e6 <= count <= 0.5e6


def test_constructed_by_name():
    assert load_net("constructed").w == 1.0
    assert load_net("constructed", w=0.25).w == 0.25
    assert load_net("constructed-0.5").w == 0.5
    assert not load_net("constructed-0.5").training


@pytest.mark.parametrize(
    ("name", "w", "message"),
    [
        ("bias", None, "known"),
        ("clean", 0.5, "trained"),
        ("constructed-0.5", 0.4, "disagree"),
        ("constructed-2", None, "context weight"),
    ],
)
def test_mistakes_are_named(name, w, message):
    with pytest.raises(ValueError, match=message):
        load_net(name, w)


def saved(path, header=None):
    from safetensors.torch import save_file

    save_file(PlantedUNet().state_dict(), path, metadata=header)
    return path


def test_a_file_says_what_is_planted(tmp_path):
    plant = Plant(4, 9, texture="gravel")
    path = saved(tmp_path / "net.safetensors", {"plant": to_header(plant)})
    net, found = load_trained(path)
    assert found == plant and not net.training
    assert load_trained(str(path))[1] == plant
    assert load_trained(saved(tmp_path / "plain.safetensors"))[1] == DEFAULT
    assert load_trained("clean")[1] == DEFAULT


def test_other_files_are_refused_by_name(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(ValueError, match="none: no such file; give one, or one of biased"):
        load_trained("none")
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"{name}.safetensors does not hold the weights"):
            load_unet(tmp_path / f"{name}.safetensors")
    for header in ("{", "{}}", '{"kind": "mark", "tiles": 1}', '"3v9"'):
        path = saved(tmp_path / "odd.safetensors", {"plant": header})
        with pytest.raises(ValueError, match="odd.safetensors: its header does not say"):
            load_trained(path)

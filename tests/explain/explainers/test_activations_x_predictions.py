import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.explain.explainers.activations_x_predictions import ActivationsXPredictions
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.planted import Split, red_finder, two_red_squares
from tests.small_models import images, seeded, unet, wrapped

PIXEL = ActivationsXPredictions(layer="mid")
UNIT = ActivationsXPredictions(layer="mid", form="unit", relu=False)


def parts(model, x, target, layer="mid"):
    """The layer's activation, the same at image size, and the probability in the region."""
    tail = Tail.of(model, x, layer)
    wide = functional.interpolate(tail.activation, x.shape[2:], mode="bilinear")
    inside = tail.logits.softmax(1)[:, target.class_id] * target.on(tail.logits).mask
    return tail.activation, wide, inside


@pytest.mark.parametrize("region", [None, Everything(), Box(2, 3, 9, 14)])
@pytest.mark.parametrize("layer", ["mid", "dec2.conv1"])
def test_loops_over_units(region, layer):
    """Both forms at image size, unit by unit, on rectified and on signed layers."""
    model, x, target = unet().double(), images(2).double(), Target(1, region)
    activation, wide, inside = parts(model, x, target, layer)
    pixel = torch.zeros_like(inside)
    unit = torch.zeros_like(activation[:, 0])
    for k in range(activation.shape[1]):
        pixel += wide[:, k].abs() * inside
        unit += (wide[:, k] * inside).mean((1, 2))[:, None, None] * activation[:, k]
    found = ActivationsXPredictions(layer=layer)(model, x, target)
    assert torch.allclose(found, pixel.float(), atol=1e-6)
    for relu, expected in ((False, unit), (True, unit.relu())):
        explainer = ActivationsXPredictions(layer=layer, form="unit", relu=relu)
        found = explainer.attribute(Scene(model, x), [target])[0]
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def certain(probability):
    """A network that gives class 1 the same probability everywhere."""
    encoder = nn.Sequential(seeded(nn.Conv2d, 3, 4, 3, 2, 1), nn.ReLU())
    module = Split(encoder, nn.Conv2d(4, 2, 1))
    module.tail.weight.data.zero_()
    module.tail.bias.data = torch.tensor([1 - probability, probability]).log().clamp(min=-200)
    return wrapped(nn.Sequential(module, nn.Upsample(scale_factor=2)), 2)


def test_a_class_that_is_everywhere_or_nowhere():
    """Probability 1 gives the sum over units, 0 gives zeros."""
    x, target = images(1), Target(1, Everything())
    activation, wide, _ = parts(certain(1.0), x, target, "0.encoder")
    pixel = ActivationsXPredictions(layer="0.encoder")
    unit = ActivationsXPredictions(layer="0.encoder", form="unit")
    assert torch.allclose(pixel(certain(1.0), x, target), wide.sum(1), atol=1e-6)
    expected = (wide.mean((2, 3), keepdim=True) * activation).sum(1)
    assert torch.allclose(unit.attribute(Scene(certain(1.0), x), [target])[0], expected, atol=1e-6)
    for explainer in (pixel, unit):
        assert explainer(certain(0.0), x, target).abs().max() == 0


def test_it_is_zero_outside_the_prediction_whatever_the_network_does():
    """The known fault of the form by pixel."""
    model, x = unet(), images(1)
    found = PIXEL(model, x, Target(1, Predicted(1)))
    outside = model(x).argmax(1) != 1
    assert outside.any() and found[outside].abs().max() == 0


def test_the_unit_that_lies_like_the_prediction_weighs_most():
    """Of units with one length, the one proportional to P has the largest product with it."""
    from conceptseg.explain.explainers.activations_x_predictions import _overlap

    drawn = torch.Generator().manual_seed(0)
    predicted = torch.rand(1, 8, 12, generator=drawn)
    units = torch.rand(1, 9, 8, 12, generator=drawn)
    units[:, 4] = 3 * predicted
    units /= units.square().sum((2, 3), keepdim=True).sqrt()
    found = _overlap(units, predicted)[0]
    assert found.argmax() == 4
    assert found[4].item() == pytest.approx(predicted.norm().item() / 96, rel=1e-5)


def test_red_units_for_the_red_class():
    model, x = red_finder(), two_red_squares()
    explainer = ActivationsXPredictions(layer="encoder", form="unit")
    found = explainer(model, x, Target(1, Predicted(1)))[0]
    assert found[4:10, 2:6].min() > found[4:10, 10:14].max()


def test_one_forward_pass_for_all_targets():
    model, x = unet(), images(2)
    for explainer in (PIXEL, UNIT):
        scene = Scene(model, x)
        explainer.on(scene, [Target(c, Everything()) for c in range(3)])
        assert scene.passes == {"forward": 2}

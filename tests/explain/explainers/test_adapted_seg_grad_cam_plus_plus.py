import torch

from conceptseg.explain.explainers.adapted_seg_grad_cam import AdaptedSegGradCam
from conceptseg.explain.explainers.adapted_seg_grad_cam_plus_plus import AdaptedSegGradCamPlusPlus
from conceptseg.explain.explainers.seg_grad_cam_plus_plus import SegGradCamPlusPlus
from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.planted import piecewise_linear_tail
from tests.explain.explainers.test_adapted_seg_grad_cam import unit_range
from tests.small_models import images, unet

TARGET = Target(1, Everything(), "logit", "sum")


def test_the_formula_on_each_of_two_layers():
    """alpha g+ by the paper's equation in float64, position by position, at rectified layers."""
    model, x = unet().double(), images(1).double()
    layers = ("dec2", "dec1")
    maps = []
    for layer in layers:
        tail = Tail.of(model, x, layer, graph=True)
        activation, slope = tail.activation.detach()[0], tail.gradient(TARGET.on(tail.logits))[0]
        found = torch.zeros(activation.shape[1:], dtype=torch.float64)
        for unit, g in zip(activation, slope, strict=True):
            alpha = g**2 / (2 * g**2 + unit.sum() * g**3)
            found += (alpha * g.clamp(min=0)).nan_to_num(0).sum() * unit
        wide = torch.nn.functional.interpolate(found[None, None], x.shape[2:], mode="bilinear")
        maps.append(unit_range(wide[0, 0].relu()))
    found = AdaptedSegGradCamPlusPlus(layers=layers)(model, x, TARGET)[0]
    assert torch.allclose(found, (sum(maps) / 2).float(), atol=1e-5)


def test_one_layer_is_the_base_method():
    model, x = unet(), images(2)
    for layer in ("mid", "dec1"):
        base = SegGradCamPlusPlus(layer=layer)(model, x, TARGET)
        found = AdaptedSegGradCamPlusPlus(layers=(layer,))(model, x, TARGET)
        for one, other in zip(found, base, strict=True):
            assert torch.allclose(one, unit_range(other), atol=1e-5)


def test_the_published_eps_reaches_the_weights():
    """Of a mean over pixels the gradients are small, and 1e-6 is not."""
    model, x, target = unet(), images(1), Target(1, Everything())
    base = SegGradCamPlusPlus(layer="mid", eps=1e-6)(model, x, target)[0]
    found = AdaptedSegGradCamPlusPlus(layers=("mid",), eps=1e-6)(model, x, target)[0]
    assert torch.allclose(found, unit_range(base), atol=1e-5)
    other = AdaptedSegGradCamPlusPlus(layers=("mid",))(model, x, target)[0]
    assert not torch.allclose(found, other, atol=1e-3)


def test_it_is_not_the_adapted_grad_cam():
    model, x = piecewise_linear_tail(), images(1)
    layers = ("encoder", "tail.0")
    found = AdaptedSegGradCamPlusPlus(layers=layers)(model, x, TARGET)
    assert not torch.allclose(found, AdaptedSegGradCam(layers=layers)(model, x, TARGET), atol=0.05)

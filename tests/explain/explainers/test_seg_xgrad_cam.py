import pytest
import torch

from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.explainers.seg_xgrad_cam import SegXgradCam
from conceptseg.explain.regions import Box, Everything, Pixel, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.peers import grad_cam_map
from tests.explain.explainers.planted import (
    linear_tail,
    piecewise_linear_tail,
    red_finder,
    two_red_squares,
)
from tests.small_models import images, unet

SIGNED = SegXgradCam(layer="encoder", relu=False)
LOGIT = {"score": "logit", "reduce": "sum"}


def test_loops_over_units_and_positions():
    model, x = unet().double(), images(1).double()
    scene, target = Scene(model, x), Target(2)
    activation = scene.tail("mid", graph=True).activation.detach()[0]
    gradient = scene.gradient("mid", scene.fix(target))[0]
    expected = torch.zeros(activation.shape[1:], dtype=torch.float64)
    for a, g in zip(activation.tolist(), gradient.tolist(), strict=True):
        values, slopes = sum(a, []), sum(g, [])
        total = sum(values)
        if total > 0:
            weight = sum(v * s for v, s in zip(values, slopes, strict=True)) / total
            expected += weight * torch.tensor(a, dtype=torch.float64)
    found = SegXgradCam(layer="mid", relu=False).on_grid(scene, target)[0]
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-15)
    rectified = SegXgradCam(layer="mid").on_grid(scene, target)[0]
    assert torch.allclose(rectified, expected.relu(), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("region", [None, Everything(), Box(2, 3, 9, 14), Pixel(5, 5)])
def test_completeness(region):
    """The signed map sums to T where the tail is homogeneous, and else as Seg-HiRes-Grad-CAM's."""
    model, x = piecewise_linear_tail(), images(2)
    scene, target = Scene(model, x), Target(2, region, **LOGIT)
    expected = scene.fix(target)(scene.logits)
    found = SIGNED.on_grid(scene, target).sum((1, 2))
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    scene, target = Scene(unet(), x), Target(2, region)
    found = SegXgradCam(layer="mid", relu=False).on_grid(scene, target).sum((1, 2))
    expected = SegHiresGradCam(layer="mid", relu=False).on_grid(scene, target).sum((1, 2))
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_a_constant_gradient_makes_it_seg_grad_cam():
    model, x = linear_tail(), images(2)
    target = Target(0, Everything(), **LOGIT)
    expected = SegGradCam(layer="encoder", relu=False)(model, x, target)
    assert torch.allclose(SIGNED(model, x, target), expected, atol=1e-5)


@pytest.mark.slow  # loading the library takes seconds
@pytest.mark.parametrize("layer", ["mid", "dec2"])
@pytest.mark.parametrize("region", [Everything(), Predicted(1)])
def test_pytorch_grad_cam(layer, region):
    model, x = unet(), images(2)
    target = Target(1, region, **LOGIT)
    expected = grad_cam_map("XGradCAM", model, layer, x, target)
    found = SegXgradCam(layer=layer, relu=False).on_grid(Scene(model, x), target)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_it_lights_up_the_object_that_was_not_asked_for():
    target = Target(1, Predicted(1) & Box(0, 0, 16, 10))
    found = SegXgradCam(layer="encoder")(red_finder(), two_red_squares(), target)[0]
    asked, other = found[:, :10].sum(), found[:, 10:].sum()
    assert (other / (asked + other)).item() == pytest.approx(0.5)


def test_units_that_cancel_are_left_out():
    activation = torch.tensor([[1.0, -1.0], [0.0, 0.0], [3.0, 1.0], [1.0, -0.8]])
    gradient = torch.tensor([[1.0, 2.0], [5.0, 5.0], [2.0, 4.0], [1.0, 1.0]])
    activation, gradient = activation[None, :, None], gradient[None, :, None]
    counts = (6 + 4) / 4 * activation[0, 2]
    weak = activation[0, 3]
    assert torch.allclose(SIGNED.weigh(activation, gradient)[0], counts + weak)
    found = SegXgradCam(floor=0.2).weigh(activation, gradient)[0]
    assert torch.allclose(found, counts)

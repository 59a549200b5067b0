import pytest
import torch

from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
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

SIGNED = SegHiresGradCam(layer="encoder", relu=False)
LOGIT = {"score": "logit", "reduce": "sum"}


def test_closed_form_of_a_linear_tail():
    """L_uv = M_uv sum_k w_ck A_k,uv: the logit without its bias, inside the region only."""
    model, x = linear_tail(), images(2)
    target = Target(1, **LOGIT)
    with torch.no_grad():
        logits = model(x)
    expected = (logits[:, 1] - model.module.tail.bias[1].detach()) * target.on(logits).mask
    assert torch.allclose(SIGNED(model, x, target), expected, atol=1e-6)
    found = SegHiresGradCam(layer="encoder")(model, x, target)
    assert torch.allclose(found, expected.relu(), atol=1e-6)


@pytest.mark.parametrize("region", [None, Everything(), Box(2, 3, 9, 14), Pixel(5, 5)])
def test_completeness(region):
    """Where the tail is homogeneous, the signed map sums to the target (Euler)."""
    model, x = piecewise_linear_tail(), images(2)
    scene, target = Scene(model, x), Target(2, region, **LOGIT)
    expected = scene.fix(target)(scene.logits)
    found = SIGNED.on_grid(scene, target).sum((1, 2))
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_pixels_add_up_to_their_region():
    model, x = unet(), images(1)
    scene = Scene(model, x)
    explainer = SegHiresGradCam(layer="mid", relu=False)
    box = [(y, x) for y in range(3, 6) for x in range(4, 7)]
    pixels = sum(explainer.on_grid(scene, Target(1, Pixel(*at), **LOGIT)) for at in box)
    whole = explainer.on_grid(scene, Target(1, Box(3, 4, 6, 7), **LOGIT))
    assert torch.allclose(pixels, whole, atol=1e-5 * float(whole.abs().max()))


def test_a_constant_gradient_makes_it_seg_grad_cam():
    """Over the whole image a linear tail's gradient is the same everywhere."""
    model, x = linear_tail(), images(2)
    target = Target(0, Everything(), **LOGIT)
    expected = SegGradCam(layer="encoder", relu=False)(model, x, target)
    assert torch.allclose(SIGNED(model, x, target), expected, atol=1e-6)


@pytest.mark.slow  # loading the library takes seconds
@pytest.mark.parametrize("layer", ["mid", "dec2"])
@pytest.mark.parametrize("region", [Everything(), Predicted(1)])
def test_pytorch_grad_cam(layer, region):
    model, x = unet(), images(2)
    target = Target(1, region, **LOGIT)
    expected = grad_cam_map("HiResCAM", model, layer, x, target)
    found = SegHiresGradCam(layer=layer, relu=False).on_grid(Scene(model, x), target)
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.abs().max()))


def test_it_stays_on_the_object_that_was_asked_for():
    model, x = red_finder(), two_red_squares()
    target = Target(1, Predicted(1) & Box(0, 0, 16, 10))
    found = SegHiresGradCam(layer="encoder")(model, x, target)[0]
    assert found[4:10, 2:6].min() > 0
    assert found[:, 10:].abs().max() == 0
    assert found[4:10, 2:6].sum().item() == pytest.approx(found.sum().item())


def test_an_empty_set_of_pixels_gives_zeros():
    """The paper's sanity check."""
    model, x = unet(), images(1)
    nowhere = Predicted(0) & ~Predicted(0)
    assert SegHiresGradCam(layer="mid")(model, x, Target(0, nowhere)).abs().max() == 0

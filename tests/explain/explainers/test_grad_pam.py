import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.grad_pam import GradPam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.regions import Box, Everything, Pixel, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.planted import (
    Split,
    difference,
    linear_tail,
    piecewise_linear_tail,
    red_finder,
    two_red_squares,
)
from tests.small_models import images, seeded, unet, wrapped

ALL = 10**6
LOGIT = {"score": "logit", "reduce": "sum"}


def pixel_maps(model, x, layer, class_id, pixels):
    """Each pixel's signed map sum_k dz / dA_k A_k, with derivatives by differences, in float64."""
    tail = Tail.of(model, x, layer)
    activation = tail.activation
    maps = torch.zeros(len(pixels), *activation.shape[2:], dtype=torch.float64)
    step = 1e-5
    for k, u, v in torch.cartesian_prod(*map(torch.arange, activation.shape[1:])).tolist():
        sides = []
        for sign in (1, -1):
            moved = activation.clone()
            moved[0, k, u, v] += sign * step
            logits = tail.resume(moved)[0, class_id]
            sides.append(torch.stack([logits[at] for at in pixels]))
        maps[:, u, v] += (sides[0] - sides[1]) / (2 * step) * activation[0, k, u, v]
    return maps


def test_loops_over_pixels_units_and_positions():
    model, x = unet().double(), images(1).double()
    pixels = [(4, 5), (4, 6), (5, 5), (5, 6)]
    signed = pixel_maps(model, x, "mid", 1, pixels)
    assert (signed < 0).any() and (signed > 0).any()
    target, scene = Target(1, Box(4, 5, 6, 7), **LOGIT), Scene(model, x)
    found = GradPam(layer="mid", pixels=ALL).on_grid(scene, target)[0]
    assert torch.allclose(found, signed.relu().sum(0), rtol=1e-5, atol=1e-9)
    found = GradPam(layer="mid", agg="grad").on_grid(scene, target)[0]
    assert torch.allclose(found, signed.sum(0).relu(), rtol=1e-5, atol=1e-9)
    for at, one in zip(pixels, signed, strict=True):
        found = GradPam(layer="mid").on_grid(scene, Target(1, Pixel(*at), score="logit"))[0]
        assert torch.allclose(found, one.relu(), rtol=1e-5, atol=1e-9)


def test_closed_form_of_a_linear_tail():
    """Pixel p sees position p alone, so its map is its own logit without the bias, there."""
    model, x = linear_tail(), images(2)
    target = Target(1, **LOGIT)
    with torch.no_grad():
        logits = model(x)
    mask = target.on(logits).mask
    own = (logits[:, 1] - model.module.tail.bias[1].detach()).relu() * mask
    assert torch.allclose(GradPam(layer="encoder", pixels=ALL)(model, x, target), own, atol=1e-6)
    explainer = GradPam(layer="encoder", pixels=7)
    found = explainer(model, x, target)
    drawn = explainer.draw(mask)
    for i in range(2):
        at = drawn[:, i]
        expected = torch.zeros(16 * 24)
        expected[at] = own[i].flatten()[at] * mask[i].sum() / 7
        assert torch.allclose(found[i].flatten(), expected, rtol=1e-5)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("score", ["logit", "margin", "probability"])
def test_signed_maps_of_all_pixels_add_up_to_seg_hires_grad_cam(score, reduce):
    model, x = unet(), images(2)
    target = Target(1, Predicted(1) & Box(2, 3, 9, 14), score, reduce)
    scene = Scene(model, x)
    found = GradPam(layer="mid", pixels=ALL, relu=False).on_grid(scene, target)
    expected = SegHiresGradCam(layer="mid", relu=False).on_grid(scene, target)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_gradients_first_is_seg_hires_grad_cam():
    model, x = unet(), images(2)
    found = GradPam(layer="mid", agg="grad")(model, x, Target(1))
    assert torch.equal(found, SegHiresGradCam(layer="mid")(model, x, Target(1)))


def test_rectified_maps_do_not_cancel():
    model, x = unet(), images(2)
    scene, target = Scene(model, x), Target(1, Everything())
    maps = GradPam(layer="mid", pixels=ALL).on_grid(scene, target)
    gradients = GradPam(layer="mid", agg="grad").on_grid(scene, target)
    assert (maps >= gradients - 1e-6).all() and maps.sum() > 2 * gradients.sum()


def test_opposing_pixels():
    """A position counts for its right neighbour and against its left one."""
    model, x = difference(), images(1, 6, 8, 1)
    target = Target(1, Box(0, 2, 6, 6), **LOGIT)
    summed = GradPam(layer="encoder", agg="grad")(model, x, target)[0]
    assert torch.allclose(summed[:, 3:5], torch.zeros(6, 2))
    assert torch.allclose(summed[:, 1:3], x[0, 0, :, 1:3])
    found = GradPam(layer="encoder", pixels=ALL)(model, x, target)[0]
    assert torch.allclose(found[:, 1:5], x[0, 0, :, 1:5])
    assert found[:, 5:].abs().max() == found[:, 0].abs().max() == 0


def test_completeness():
    """Where the tail is homogeneous, a pixel's signed map sums to its logit (Euler)."""
    model, x = piecewise_linear_tail(), images(2)
    scene = Scene(model, x)
    for y, at in ((0, 0), (5, 7), (15, 23)):
        target = Target(2, Pixel(y, at), **LOGIT)
        found = GradPam(layer="encoder", relu=False).on_grid(scene, target).sum((1, 2))
        assert torch.allclose(found, scene.logits[:, 2, y, at], rtol=1e-4, atol=1e-5)


def test_it_stays_on_the_object_that_was_asked_for():
    target = Target(1, Predicted(1) & Box(0, 0, 16, 10))
    found = GradPam(layer="encoder")(red_finder(), two_red_squares(), target)[0]
    assert found[4:10, 2:6].max() > 0
    assert found[4:10, 2:6].sum().item() == pytest.approx(found.sum().item())


def test_which_pixels_are_drawn():
    mask = torch.zeros(3, 5, 6, dtype=torch.bool)
    mask[0, :2] = True
    mask[1, 4, 5] = True
    explainer = GradPam(pixels=4)
    drawn = explainer.draw(mask)
    assert drawn.shape == (4, 3)
    assert len(set(drawn[:, 0].tolist())) == 4 and drawn[:, 0].min() >= 0 and drawn.max() < 30
    assert (drawn[:, 0] < 12).all()
    assert drawn[:, 1].tolist() == [29, -1, -1, -1]
    assert (drawn[:, 2] == -1).all()
    assert torch.equal(explainer.draw(mask[:1])[:, 0], drawn[:, 0])
    assert torch.equal(GradPam(pixels=2).draw(mask)[:, 0], drawn[:2, 0])
    assert not torch.equal(GradPam(pixels=4, seed=1).draw(mask), drawn)
    assert explainer.draw(mask[2:]).shape == (0, 1)


def test_every_pixel_is_drawn_alike():
    mask = torch.zeros(1, 5, 6, dtype=torch.bool)
    mask[0, 1:3, :] = True
    drawn = [GradPam(pixels=3, seed=seed).draw(mask).flatten() for seed in range(400)]
    counts = torch.bincount(torch.cat(drawn), minlength=30)
    assert counts.sum() == 1200 and counts[mask.flatten()].sum() == 1200
    # 100 each, with a standard deviation of 8.7.
    assert counts[mask.flatten()].min() > 65 and counts.max() < 135


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_one_backward_pass_per_pixel(batch_size):
    scene = Scene(unet(), images(2), batch_size=batch_size)
    GradPam(layer="mid", pixels=6).on(scene, [Target(0), Target(1)])
    assert scene.passes == {"forward": 2, "tail backward": 24}


class NotBatched(torch.autograd.Function):
    """Doubles its input; its backward asks for a number, which a batch of gradients has not."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (2 if gradient.abs().sum().item() >= 0 else 1)


class Doubled(nn.Conv2d):
    def forward(self, x):
        return NotBatched.apply(super().forward(x))


def test_a_tail_whose_gradients_cannot_be_batched():
    def build():
        return Split(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()), Doubled(4, 2, 1))

    model, x = wrapped(seeded(build), 2), images(2)
    scene = Scene(model, x, batch_size=64)
    target = Target(1, Box(2, 3, 5, 6), **LOGIT)
    found = GradPam(layer="encoder", relu=False, pixels=ALL).on_grid(scene, target)
    expected = SegHiresGradCam(layer="encoder", relu=False).on_grid(scene, target)
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-6)

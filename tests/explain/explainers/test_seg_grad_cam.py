import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.peers import grad_cam_map
from tests.explain.explainers.planted import linear_tail, red_finder, two_red_squares
from tests.small_models import images, unet

SIGNED = SegGradCam(layer="encoder", relu=False)


def test_closed_form_of_a_linear_tail():
    """a_k = w_ck |M| / (y x) for the sum of class c's logit over M."""
    model, x = linear_tail(), images(2)
    target = Target(1, score="logit", reduce="sum")
    tail = Tail.of(model, x, "encoder", graph=True)
    fixed = target.on(tail.logits)
    weight = model.module.tail.weight[1, :, 0, 0].detach()
    share = fixed.pixels / (x.shape[2] * x.shape[3])
    expected = torch.einsum("n,u,nuyx->nyx", share, weight, tail.activation.detach())
    assert not fixed.empty.any()
    assert torch.allclose(SIGNED(model, x, target), expected, atol=1e-6)
    assert torch.allclose(SegGradCam(layer="encoder")(model, x, target), expected.relu(), atol=1e-6)


def test_loops_over_units_and_positions():
    """The paper's equation by loops, on a U-Net in float64, with the gradient by differences."""
    model, x = unet().double(), images(1).double()
    target = Target(2, Everything())
    tail = Tail.of(model, x, "mid", graph=True)
    score = target.on(tail.logits)
    activation = tail.activation.detach()
    _, units, height, width = activation.shape
    expected = torch.zeros(height, width, dtype=torch.float64)
    for k in range(units):
        slope, step = 0.0, 1e-5
        for u in range(height):
            for v in range(width):
                sides = []
                for sign in (1, -1):
                    moved = activation.clone()
                    moved[0, k, u, v] += sign * step
                    sides.append(score(tail.resume(moved)).item())
                slope += (sides[0] - sides[1]) / (2 * step)
        expected += slope / (height * width) * activation[0, k]
    found = SegGradCam(layer="mid", relu=False).on_grid(Scene(model, x), target)
    assert torch.allclose(found[0], expected, rtol=1e-5, atol=1e-9)


def test_captum():
    captum = pytest.importorskip("captum.attr")
    model, x = unet(), images(2)
    target = Target(1, score="logit", reduce="sum")
    with torch.no_grad():
        fixed = target.on(model(x))

    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return fixed(self.model(images))

    peer = captum.LayerGradCam(Score(), model.module.mid)
    expected = peer.attribute(x, relu_attributions=True).detach()[:, 0]
    found = SegGradCam(layer="mid").on_grid(Scene(model, x), target)
    assert expected.max() > 0
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.max()))


@pytest.mark.slow  # loading the library takes seconds
@pytest.mark.parametrize("layer", ["mid", "dec2"])
@pytest.mark.parametrize("region", [Everything(), Predicted(1)])
def test_pytorch_grad_cam(layer, region):
    model, x = unet(), images(2)
    target = Target(1, region, score="logit", reduce="sum")
    expected = grad_cam_map("GradCAM", model, layer, x, target)
    found = SegGradCam(layer=layer, relu=False).on_grid(Scene(model, x), target)
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_it_lights_up_the_object_that_was_not_asked_for():
    """Its known fault: the map of one red square is as strong on the other."""
    model, x = red_finder(), two_red_squares()
    target = Target(1, Predicted(1) & Box(0, 0, 16, 10))
    found = SegGradCam(layer="encoder")(model, x, target)[0]
    asked, other = found[:, :10].sum(), found[:, 10:].sum()
    assert (other / (asked + other)).item() == pytest.approx(0.5)
    assert found[4:10, 10:14].abs().max() == 0


def test_one_pass_serves_all_classes_and_methods():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    targets = [Target(class_id, Everything()) for class_id in range(3)]
    found = SegGradCam(layer="mid").on(scene, targets)
    for target, one in zip(targets, found, strict=True):
        assert torch.allclose(SegGradCam(layer="mid")(model, x, target), one, atol=1e-7)
    assert scene.passes == {"forward": 2, "tail backward": 6}
    SegHiresGradCam(layer="mid").on(scene, targets)
    assert scene.passes == {"forward": 2, "tail backward": 6}

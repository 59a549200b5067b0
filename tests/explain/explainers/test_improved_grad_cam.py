import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.improved_grad_cam import ImprovedGradCam
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.planted import Split, linear_tail
from tests.small_models import images, seeded, unet, wrapped

SUM = {"score": "probability", "reduce": "sum"}


def close(a, b):
    return torch.allclose(a, b, atol=1e-6 * float(b.abs().max()))


@pytest.mark.parametrize("relu", [True, False])
def test_of_two_classes_one_half_is_the_prediction(relu):
    model, x = unet(classes=2), images(2)
    found = ImprovedGradCam(layer="mid", relu=relu)(model, x, Target(1))
    expected = SegGradCam(layer="mid", relu=relu)(model, x, Target(1, **SUM))
    assert expected.abs().max() > 0
    assert close(found, expected)


def test_closed_form_of_a_linear_tail():
    """a_k = sum over M of p (1 - p) (w_1k - w_0k), over the number of positions; logits: |M|."""
    model, x = linear_tail(classes=2), images(2)
    tail = Tail.of(model, x, "encoder")
    probability = tail.logits.softmax(1)[:, 1]
    threshold = float(probability.quantile(0.7))
    above = (probability > threshold).float()
    assert 0 < above.mean() < 0.5
    weight = model.module.tail.weight[:, :, 0, 0].detach()
    share = (above * probability * (1 - probability)).mean((1, 2))
    slope = share[:, None] * (weight[1] - weight[0])
    expected = torch.einsum("nu,nuyx->nyx", slope, tail.activation)
    found = ImprovedGradCam(layer="encoder", threshold=threshold, relu=False)(model, x, Target(1))
    assert close(found, expected)
    expected = torch.einsum("n,u,nuyx->nyx", above.mean((1, 2)), weight[1], tail.activation)
    logits = ImprovedGradCam(layer="encoder", threshold=threshold, score="logit", relu=False)
    assert close(logits(model, x, Target(1)), expected)


def test_one_sigmoid_channel():
    """The mask is sigmoid(z) > threshold, the gradient p (1 - p) dz, as for one output map."""
    build = lambda: Split(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 1, 1))  # noqa: E731
    module, x = seeded(build), images(2)
    model = wrapped(module, 2)
    activation = module.encoder(x).detach().requires_grad_()
    z = nn.functional.interpolate(module.tail(activation), (16, 24), mode="bilinear")[:, 0]
    probability = z.sigmoid()
    threshold = float(probability.detach().quantile(0.6))
    total = probability[probability > threshold].sum()
    (gradient,) = torch.autograd.grad(total, activation)
    expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).detach()
    found = ImprovedGradCam(layer="encoder", threshold=threshold, relu=False)
    assert close(found.on_grid(Scene(model, x), Target(1)), expected)


def test_threshold_zero_takes_the_whole_image():
    model, x = unet(), images(2)
    found = ImprovedGradCam(layer="mid", threshold=0)(model, x, Target(1))
    assert close(found, SegGradCam(layer="mid")(model, x, Target(1, Everything(), **SUM)))


def test_constant_between_probabilities():
    model, x = unet(), images(1)
    scene = Scene(model, x)
    values = scene.logits.softmax(1)[0, 1].flatten().sort().values
    low, middle, high = values[200:203].double().tolist()

    def at(threshold):
        explainer = ImprovedGradCam(layer="mid", relu=False, threshold=threshold)
        return explainer.on_grid(scene, Target(1, Everything()))

    first, second = (at(low + share * (middle - low)) for share in (0.2, 0.8))
    assert torch.equal(first, second)
    assert not torch.equal(first, at((middle + high) / 2))


def test_the_target_s_region_bounds_it():
    """But not where it is the prediction, in whose place the threshold is."""
    model, x = unet(), images(2)
    scene = Scene(model, x)
    explainer, box = ImprovedGradCam(layer="mid", threshold=0.3), Box(2, 3, 9, 14)
    above = scene.logits.softmax(1)[:, 1] > 0.3
    inside = torch.zeros_like(above)
    inside[:, 2:9, 3:14] = True
    assert (above & ~scene.fix(Target(1)).mask).any()
    assert torch.equal(explainer.above(scene, Target(1)).mask, above)
    assert torch.equal(explainer.above(scene, Target(1, Predicted(1))).mask, above)
    assert torch.equal(explainer.above(scene, Target(1, Everything())).mask, above)
    assert torch.equal(explainer.above(scene, Target(1, box)).mask, above & inside)
    assert torch.equal(
        explainer.above(scene, Target(1, Predicted(0))).mask, above & scene.fix(Target(0)).mask
    )


def test_score_and_reduction_of_the_target_do_not_matter():
    model, x = unet(), images(2)
    explainer = ImprovedGradCam(layer="mid", threshold=0.3, relu=False)
    maps = [explainer(model, x, Target(1, None, *how)) for how in (("logit", "sum"), ())]
    assert maps[0].abs().max() > 0 and torch.equal(*maps)


def test_nothing_above_the_threshold():
    found = ImprovedGradCam(layer="mid", threshold=0.99)(unet(), images(2), Target(1))
    assert found.abs().max() == 0


def test_a_sure_network_leaves_no_gradient_but_in_logits():
    """Its known fault, and its cure."""
    model, x = linear_tail(classes=2), images(1)
    with torch.no_grad():
        model.module.tail.weight.mul_(1e-3)
        model.module.tail.bias.copy_(torch.tensor([-20.0, 20.0]))
    found = [
        ImprovedGradCam(layer="encoder", relu=False, score=score)(model, x, Target(1)).abs().max()
        for score in ("probability", "logit")
    ]
    assert found[0] < 1e-6 * found[1]


def test_one_pass_serves_a_sweep():
    scene = Scene(unet(), images(2))
    for threshold in (0.1, 0.2, 0.3):
        ImprovedGradCam(layer="mid", threshold=threshold).on(scene, [Target(1)])
    assert scene.passes == {"forward": 2, "tail backward": 6}

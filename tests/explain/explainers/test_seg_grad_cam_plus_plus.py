import pytest
import torch

from conceptseg.explain.explainers.seg_grad_cam_plus_plus import SegGradCamPlusPlus
from conceptseg.explain.regions import Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.peers import grad_cam_map
from tests.explain.explainers.planted import linear_tail
from tests.small_models import images, unet

SIGNED = SegGradCamPlusPlus(layer="mid", relu=False)
LOGIT = {"score": "logit", "reduce": "sum"}


def test_from_derivatives_of_the_exponential():
    """alpha = Y'' / (2 Y'' + sum(A) Y''') for Y = exp(T), each derivative taken by autograd."""
    model, x = linear_tail(), images(1, 4, 5)
    model, x = model.double(), x.double()
    tail = Tail.of(model, x, "encoder", graph=True)
    score = Target(1, Everything(), score="logit").on(tail.logits)
    activation = tail.activation.detach()
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for k in range(activation.shape[1]):
        weight = 0.0
        for u, v in torch.cartesian_prod(torch.arange(4), torch.arange(5)).tolist():
            one = activation[0, k, u, v].clone().requires_grad_()
            moved = activation.clone()
            moved[0, k, u, v] = one
            total = score(tail.resume(moved))[0]
            (slope,) = torch.autograd.grad(total, one, retain_graph=True)
            found, derivatives = total.exp(), []
            for _ in range(3):
                (found,) = torch.autograd.grad(found, one, create_graph=True)
                derivatives.append(found.item())
            _, second, third = derivatives
            alpha = second / (2 * second + activation[0, k].sum().item() * third)
            weight += alpha * max(slope.item(), 0)
        expected += weight * activation[0, k]
    explainer = SegGradCamPlusPlus(layer="encoder", relu=False)
    found = explainer(model, x, Target(1, Everything(), score="logit"))[0]
    assert expected.max() > 0
    assert torch.allclose(found, expected.float(), rtol=1e-5)


def test_a_constant_gradient():
    """a_k = y x G / (2 + G sum(A_k)) for a gradient G > 0 that is the same everywhere."""
    model, x = linear_tail(), images(2)
    activation = Tail.of(model, x, "encoder").activation
    slope = model.module.tail.weight[1, :, 0, 0].detach()
    assert (slope > 0).any() and (slope < 0).any()
    totals = activation.sum((2, 3))
    weights = 16 * 24 * slope.relu() / (2 + slope.relu() * totals)
    expected = torch.einsum("nu,nuyx->nyx", weights, activation)
    explainer = SegGradCamPlusPlus(layer="encoder", relu=False)
    found = explainer(model, x, Target(1, Everything(), **LOGIT))
    assert torch.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_a_gradient_whose_inverse_overflows(eps):
    """1e-40 is above zero, 1 / 1e-40 is beyond float32: the map stays that of the others."""
    activation = torch.rand(1, 3, 4, 5)
    gradient = torch.randn(1, 3, 4, 5)
    gradient[0, 1, 2, 3] = 0.0
    expected = SegGradCamPlusPlus(eps=eps).weigh(activation, gradient)
    gradient[0, 1, 2, 3] = 1e-40
    found = SegGradCamPlusPlus(eps=eps).weigh(activation, gradient)
    assert gradient[0, 1, 2, 3] > 0 and expected.isfinite().all()
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 1e-3])
def test_loops_over_units_and_positions(eps):
    """The published formula, position by position, in plain floats."""
    model, x = unet().double(), images(1).double()
    scene, target = Scene(model, x), Target(2)
    activation = scene.tail("mid", graph=True).activation.detach()[0]
    gradient = scene.gradient("mid", scene.fix(target))[0]
    expected = torch.zeros(activation.shape[1:], dtype=torch.float64)
    for a, g in zip(activation, gradient, strict=True):
        weight = 0.0
        for slope in g.flatten().tolist():
            if slope != 0:
                below = 2 * slope**2 + a.sum().item() * slope**3 + eps
                weight += slope**2 / below * max(slope, 0)
        expected += weight * a
    found = SegGradCamPlusPlus(layer="mid", relu=False, eps=eps).on_grid(scene, target)[0]
    assert expected.max() > 0
    assert torch.allclose(found, expected, rtol=1e-9)


@pytest.mark.slow  # loading the library takes seconds
@pytest.mark.parametrize("layer", ["mid", "dec2"])
@pytest.mark.parametrize("region", [Everything(), Predicted(1)])
def test_pytorch_grad_cam(layer, region):
    model, x = unet(), images(2)
    target = Target(1, region, **LOGIT)
    expected = grad_cam_map("GradCAMPlusPlus", model, layer, x, target)
    explainer = SegGradCamPlusPlus(layer=layer, relu=False, eps=1e-6)
    found = explainer.on_grid(Scene(model, x), target)
    assert expected.max() > 0
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def test_small_gradients_are_not_ruled_by_rounding():
    """As the target shrinks, alpha goes to 1/2 and the map to half the positive gradients'."""
    activation, gradient = images(2, 4, 5, 3), images(2, 4, 5, 3, seed=2) - 0.5
    half = (gradient.relu().sum((2, 3), keepdim=True) / 2 * activation).sum(1)
    for scale in (1e-6, 1e-20, 1e-30):
        found = SIGNED.weigh(activation, scale * gradient) / scale
        assert torch.allclose(found, half, rtol=1e-4)


def test_zero_gradient_gives_zero():
    assert SIGNED.weigh(images(1, 4, 5), torch.zeros(1, 3, 4, 5)).abs().max() == 0


def test_a_denominator_of_zero_is_left_out():
    """Of a unit that sums to -2, a gradient of 1 has none; that of 1/2 still counts."""
    activation = torch.full((1, 1, 2, 2), -0.5)
    gradient = torch.tensor([[[[1.0, 0.5], [0.0, -1.0]]]])
    found = SIGNED.weigh(activation, gradient)
    assert torch.allclose(found, activation[:, 0] * 0.5 / (2 - 2 * 0.5))

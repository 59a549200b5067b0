"""LRP as a local explanation."""

import pytest
import torch
from torch import nn

from conceptseg.explainers.lrp import Lrp
from conceptseg.scene import Scene
from conceptseg.target import Box, Everything, Target
from tests.small_models import images, seeded, unet, wrapped


class Linear(nn.Module):
    """Two convolutions without anything between them: linear in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.last = nn.Conv2d(6, 3, 1, bias=False)

    def forward(self, x):
        return self.last(self.first(x))


def test_of_a_linear_network_it_is_gradient_times_input():
    """LRP-0 = x dT/dx where nothing is nonlinear and no bias takes part."""
    net = seeded(Linear).double()
    net.first.weight.data.mul_(1e4)  # so that sums are far above what stabilises them
    model = wrapped(net)
    x = images().double()
    target = Target(1, Box(2, 3, 12, 20), score="logit")
    found = Lrp(composite="epsilon")(model, x, target)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(target.on(model(leaf), None)(model(leaf)).sum(), leaf)
    expected = (gradient * x).sum(1)
    assert torch.allclose(found.double(), expected, rtol=1e-3, atol=1e-4 * expected.abs().max())
    plain = Lrp(composite="gradient_x_input")(model, x, target)
    assert torch.allclose(plain.double(), expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def test_the_map_sums_to_the_mean_logit_where_relevance_is_conserved():
    """z+ by hand: a rectifier after positive weights, positive images, no bias."""
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(5, 3, 1, bias=False)
    )
    for parameter in net.parameters():
        parameter.data.abs_()
    model, x = wrapped(net.eval()), images()
    target = Target(2, Everything(), score="logit")
    logits = model(x)[:, 2].detach()
    for name in ("epsilon_plus", "epsilon_plus_flat", "gamma"):
        found = Lrp(composite=name)(model, x, target)
        assert found.sum((1, 2)).tolist() == pytest.approx(logits.mean((1, 2)).tolist(), rel=1e-3)
    summed = Lrp()(model, x, Target(2, Everything(), score="logit", reduce="sum"))
    assert summed.sum((1, 2)).tolist() == pytest.approx(logits.sum((1, 2)).tolist(), rel=1e-3)


def test_the_positive_start_drops_negative_logits():
    model, x = unet(), images(2, 32, 48)
    target = Target(0, Everything())
    logits = model(x)[:, 0].detach()
    assert (logits < 0).any() and (logits > 0).any()
    signed = Lrp(composite="flat")(model, x, target).sum((1, 2))
    positive = Lrp(composite="flat", sign="positive")(model, x, target).sum((1, 2))
    assert signed.tolist() == pytest.approx(logits.mean((1, 2)).tolist(), rel=1e-3, abs=1e-5)
    expected = logits.clamp(min=0).mean((1, 2)).tolist()
    assert positive.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_target_start_sums_to_what_logits_add_to_the_target():
    """z dT/dz; the flat rule keeps it to the last bit of a sum."""
    model, x = unet(), images(2, 32, 48)
    target = Target(1, Everything())
    logits = model(x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(target.on(logits, None)(logits).sum(), logits)
    found = Lrp(composite="flat", start="target")(model, x, target)
    expected = (gradient * logits).sum((1, 2, 3)).tolist()
    assert found.sum((1, 2)).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("in_place", ["weights", "data"])
def test_a_changed_network_is_looked_at_again(in_place):
    model, x = unet(), images(1, 32, 48)
    target = Target(1, Everything())
    before = Lrp()(model, x, target)
    assert torch.equal(Lrp()(model, x, target), before)
    weight = model.module.dec1.conv1.weight
    if in_place == "data":
        weight.data.mul_(-1)
    else:
        with torch.no_grad():
            weight.mul_(-1)
    assert not torch.allclose(Lrp()(model, x, target), before)


def test_targets_share_one_pass():
    model, x = unet(), images(3, 32, 48)
    scene = Scene(model, x, batch_size=2)
    targets = [Target(c, Everything()) for c in range(3)]
    together = Lrp().on(scene, targets)
    for c, target in enumerate(targets):
        assert torch.allclose(together[c], Lrp()(model, x, target), atol=1e-6)

"""LRP as a local explanation."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from conceptseg.errors import InputError
from conceptseg.explain.explainers.lrp import Lrp
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
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


class Split(nn.Module):
    """Two channels of a layer, the first of red and the second of green; logits weigh them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Conv2d(3, 2, 1, bias=False)
        self.act = nn.ReLU()
        self.last = nn.Conv2d(2, 2, 1, bias=False)
        self.seen.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None]
        self.last.weight.data = torch.tensor([[2.0, 3], [1, 1]])[:, :, None, None]

    def forward(self, x):
        return self.last(self.act(self.seen(x)))


def conditional(**options):
    return Lrp(composite="epsilon", layer="act", **options)


def test_a_channel_a_direction_and_a_box_of_a_layer(tmp_path):
    """By hand: class 0 takes 2 red + 3 green at every pixel, the mean over 6 x 8 of them."""
    model, x = wrapped(Split().eval(), classes=2), images(2, 6, 8) + 0.1
    x = x / x.max()
    target = Target(0, Everything(), score="logit")
    red, green = 2 * x[:, 0] / 48, 3 * x[:, 1] / 48

    def same(found, expected):
        return torch.allclose(found, expected, rtol=1e-3, atol=1e-6)

    assert same(conditional()(model, x, target), red + green)
    assert same(conditional(channel=0)(model, x, target), red)
    assert same(conditional(channel=1)(model, x, target), green)
    box = conditional(channel=1, box=(1, 2, 4, 8))(model, x, target)
    inside = torch.zeros(6, 8)
    inside[1:4, 2:8] = 1
    assert same(box, green * inside)
    assert same(conditional(box=(1, 2, 4, 8))(model, x, target), (red + green) * inside)
    # Along v = (3, 4) / 5 the activation's part is v (A . v), worth 2 and 3 a unit.
    np.save(tmp_path / "v.npy", np.array([[0.0, 1.0], [3.0, 4.0]]))
    rows = {"directions": str(tmp_path / "v.npy")}
    along = (0.6 * x[:, 0] + 0.8 * x[:, 1]) * (2 * 0.6 + 3 * 0.8) / 48
    assert same(conditional(direction=1, **rows)(model, x, target), along)
    assert same(conditional(direction=0, **rows)(model, x, target), green)


def test_a_part_that_does_not_exist_is_refused(tmp_path):
    model, x = wrapped(Split().eval(), classes=2), images(1, 6, 8)
    np.save(tmp_path / "v.npy", np.ones((1, 3)))
    rows = {"directions": str(tmp_path / "v.npy")}
    for options, text in (
        ({"channel": 2}, "channel: 2 is not among the 2 of 'act'"),
        ({"direction": 0, **rows}, "they have 3 entries, layer 'act' has 2 units"),
        ({"direction": 1, **rows}, "direction: 1 is not among the 1 rows"),
        ({"direction": 0}, "directions: a direction is asked for"),
    ):
        with pytest.raises(InputError, match=text):
            conditional(**options)(model, x, Target(0))
    with pytest.raises(ValidationError, match="exclude each other"):
        conditional(channel=0, direction=0, **rows)
    with pytest.raises(ValidationError, match="which of its rows"):
        conditional(**rows)

"""What is said of relevance that grew, was lost, or lies where nothing is."""

import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.deep_lift import DeepLift
from conceptseg.explain.explainers.lrp import Lrp
from conceptseg.explain.lrp.doubts import CURE, doubts
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.flow import Amount, Retained
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.notebook import explain
from tests.small_models import images, wrapped


class Cancels(nn.Module):
    """The positive class is what is left of 1.00 x - 0.99 x, through `depth` sums after another."""

    def __init__(self, depth=2):
        super().__init__()
        self.depth = depth
        self.one, self.other = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
        self.last = nn.Conv2d(3, 2, 1, bias=False)
        self.one.weight.data.copy_(torch.eye(3)[:, :, None, None])
        self.other.weight.data.copy_(-0.9 * torch.eye(3)[:, :, None, None])
        self.last.weight.data.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3])[:, :, None, None])

    def forward(self, x):
        for _ in range(self.depth):
            x = self.one(x) + self.other(x)
        return self.last(x)


def followed(composite):
    model, x = wrapped(Cancels().double().eval(), 2), images(1, 4, 6).double() + 0.1
    run = Engine(model, x, composite).run(x)
    everywhere = torch.ones(1, 4, 6, dtype=torch.bool)
    return run.followed(relevance_of_logits(run.logits, everywhere, 1))[1]


def test_absolute_amounts_are_counted_beside_signed_ones():
    """Each sum hands on (1 + 0.9) / 0.1 = 19 times, of opposite signs, and sums to 1."""
    told = followed("epsilon")
    assert told.share == pytest.approx(1, abs=1e-3)
    assert told.inner_growth == pytest.approx(19, rel=1e-2)
    assert told.worst[0] == ""  # the network itself adds
    mine = {one.name: one for one in told.modules}
    assert mine["last"].passed.absolute == pytest.approx(1, rel=1e-3)
    assert mine[""].received.absolute == pytest.approx(2, rel=1e-2)
    assert mine[""].passed.absolute == pytest.approx(2 * 19, rel=1e-2)
    plus = followed("epsilon_plus")
    assert plus.growth == pytest.approx(1, rel=1e-3) == plus.inner_growth


def test_conserved_by_cancellation_is_called_so():
    told = Retained(Amount(1, 1), Amount(1.007, 212), (), ("up.add", 349), (0.0, 0.0))
    (first, cure) = doubts(told, "gamma").values()
    assert "conserved by cancellation alone: its sum is 100.7%" in first
    assert "212 times" in first and "349 times within, in module 'up.add'" in first
    assert "composite: plus" in cure and "rescale" in doubts(told, "plus")[CURE]
    sound = Retained(Amount(1, 1), Amount(0.9, 0.95), (), ("", 1.1), (0.0, 0.0))
    assert doubts(sound, "gamma") == {}
    grown = Retained(Amount(1, 1), Amount(28, 28), (), ("", 28), (0.0, 0.0))
    assert (
        "grew on its way to the image: its sum is 2800.0%"
        in doubts(grown, "epsilon_plus")["growth"]
    )
    assert "nearly cancel" not in doubts(grown, "epsilon_plus")["growth"]
    remainder = Retained(Amount(1, 1), Amount(-0.6, 4.7), (), ("head", 84), (0.0, 0.0))
    assert "where the terms of a sum nearly cancel" in doubts(remainder, "epsilon_plus")["growth"]
    assert "62% of the map's energy" in doubts(sound, "gamma", 0.62)["dots on a grid"]


class Branches(nn.Module):
    """Two branches of opposite signs before a rectifier, one of them blurred."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.last = nn.Conv2d(3, 2, 1)
        for layer, value in ((self.a, 0.1), (self.b, -0.8), (self.last, 1.0)):
            layer.weight.data.fill_(value)
            layer.bias.data.zero_()

    def forward(self, x):
        return self.last(torch.relu(self.a(x) + self.b(x)))


@pytest.mark.filterwarnings("ignore:occlusion. zero everywhere")
def test_the_local_method_says_what_speaks_against_its_map():
    model = wrapped(Branches().eval(), 2)
    x = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    name = model.classes[0]
    found = explain(model, x, name, {"kind": "lrp", "composite": "epsilon"})
    (lines,) = found.remarks.values()
    assert "times theirs" in lines[0] and "plus, which makes none" in " ".join(lines)
    assert "plus, which makes none" in found._repr_html_()
    assert "lrp" not in explain(model, x, name, "lrp", "occlusion").remarks


def test_passes_are_counted():
    model = wrapped(Cancels().eval(), 2)
    x = torch.rand(2, 3, 4, 6)
    for method, forwards in ((Lrp(), 2), (DeepLift(), 4)):
        scene = Scene(model, x)
        assert scene.logits.shape[0] == 2
        before = scene.passes
        method.on(scene, [Target(0, Everything()), Target(1, Everything())])
        made = {k: n - before.get(k, 0) for k, n in scene.passes.items()}
        assert made["forward"] == forwards and made["backward"] == 4

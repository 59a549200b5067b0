"""DeepLIFT as a local explanation; its rules are tested with the engine."""

import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.deep_lift import DeepLift
from conceptseg.explain.explainers.lrp import Lrp
from conceptseg.explain.fill import filling
from conceptseg.explain.lrp.start import relevance_of_change
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.explain.lrp.test_rescale import peers
from tests.small_models import images, seeded, unet, wrapped


@pytest.mark.parametrize("score", ["logit", "margin", "centred", "logprob", "probability"])
def test_the_map_sums_to_the_target_s_difference(score):
    """Whatever the target; logits far apart, as those of trained networks are."""
    model, x = unet().double(), images(2, 32, 48).double()
    model.module.head.weight.data.mul_(20)
    target = Target(1, Box(4, 4, 24, 40), score=score)
    found = DeepLift(reference="black")(model, x, target)
    logits, blank = model(x).detach(), model(filling(model, x, "black")).detach()
    fixed = target.on(logits, None)
    expected = fixed(logits) - fixed(blank)
    assert float(expected.abs().min()) > 1e-3
    assert found.sum((1, 2)).tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_of_a_linear_network_it_is_gradient_times_difference():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1))
    model, x = wrapped(seeded(lambda: net).double()), images(1, 12, 16).double()
    target = Target(2, Everything(), score="logit")
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 2].mean(), leaf)
    for reference in ("mean", "grey", "blur"):
        expected = (gradient * (x - filling(model, x, reference))).sum(1)
        found = DeepLift(reference=reference)(model, x, target).double()
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Setting forward:UserWarning")
def test_captum():
    captum = pytest.importorskip("captum.attr")
    net = seeded(peers).double()
    model, x = wrapped(net), images(2, 16, 24).double()
    target = Target(1, Everything(), score="logit", reduce="sum")

    class Scored(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, batch):
            return self.net(batch)[:, 1].sum((1, 2))

    blank = filling(model, x, "mean").clone()
    entered = x.clone().requires_grad_()
    expected = captum.DeepLift(Scored()).attribute(entered, blank).sum(1).detach()
    found = DeepLift()(model, x, target).double()  # maps are put out as float32
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7 * float(expected.abs().max()))


def test_a_change_of_a_curved_target_by_its_integral():
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64).view(1, 3, 1, 1)
    change = torch.tensor([[5.0, 1.0, -2.0]], dtype=torch.float64).view(1, 3, 1, 1)
    target = Target(0, Everything(), score="probability").on(logits, None)
    found = relevance_of_change(logits, change, target)
    expected = torch.zeros(3, dtype=torch.float64)
    steps = 20000
    for n in range(steps):
        p = (logits - (n + 0.5) / steps * change).flatten().softmax(0)
        expected += p[0] * (torch.eye(3, dtype=torch.float64)[0] - p) / steps
    assert torch.allclose(found.flatten(), expected * change.flatten(), atol=1e-8)


def test_it_is_lrp_under_rescale():
    model, x = unet(), images(1, 32, 48)
    target = Target(1, Everything(), score="margin")
    expected = Lrp(composite="rescale", start="target")(model, x, target)
    assert torch.equal(DeepLift()(model, x, target), expected)


@pytest.mark.parametrize(
    ("method", "rows"), [(DeepLift(), 3), (Lrp(), 2), (Lrp(channel=0), 2)], ids=lambda v: str(v)[:9]
)
def test_passes_are_counted_as_they_are_made(method, rows, monkeypatch):
    """The rows that enter the network, and a way back for each target."""
    model, x = unet(), images(1, 16, 24)
    targets = [Target(c, Everything()) for c in range(3)]
    method.on(Scene(model, x), targets)  # makes the engine, once for a network
    entered, forward = [], SegmentationModel.forward
    monkeypatch.setattr(
        SegmentationModel, "forward", lambda s, x: entered.append(len(x)) or forward(s, x)
    )
    scene = Scene(model, x)
    method.on(scene, targets)
    assert sum(entered) == rows
    assert scene.passes == {"forward": rows, "backward": 3}

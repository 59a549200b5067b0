"""The engine against Zennit's own hooks and against zennit-crp, on networks that these take."""

import copy

import pytest
import torch
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import NameLayerMapComposite
from zennit.rules import Epsilon, Flat, Gamma, Norm, Pass, ZPlus
from zennit.torchvision import ResNetCanonizer
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.parts import channel
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.model import SegmentationModel
from tests.explain.lrp import nets
from tests.small_models import images

ZERO = ["bias"]


def composite(name, first, last, canonizers, zero=ZERO):
    """A composite of Zennit's, put together here: rules by type, two layers by name.

    In the last layer the bias takes its share whatever `zero` says, as in Zennit's own composites.
    """
    from zennit.layer import Sum

    rule = {
        "epsilon_plus": ZPlus(zero_params=zero),
        "epsilon_plus_flat": ZPlus(zero_params=zero),
        "gamma": Gamma(0.25, zero_params=zero),
        "epsilon": Epsilon(zero_params=zero),
    }[name]
    special = [((last,), Epsilon())]
    if name.endswith("flat"):
        special.append(((first,), Flat()))
    layers = [
        (Activation, Pass()),
        (Sum, Norm()),
        (AvgPool, Norm()),
        (Convolution, rule),
        (Linear, Epsilon(zero_params=zero)),
        (BatchNorm, Pass()),
    ]
    return NameLayerMapComposite(special, layers, canonizers=canonizers)


def without_eps(net):
    """The same network with its norms' eps moved into the variance: Zennit leaves it behind."""
    other = copy.deepcopy(net)
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var += module.eps
            module.eps = 0.0
    return other


def plain():
    """Its transposed convolution reads both signs, its mean pooling one: of both signs we share
    by positive parts under z+, where Zennit's Norm shares in proportion."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, stride=2, padding=2, dilation=2, groups=2, bias=False),
        nn.BatchNorm2d(12),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 4, 1),
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    torch.random.set_rng_state(state)
    return net.double().eval()


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("name", ["epsilon_plus", "epsilon_plus_flat", "gamma", "epsilon"])
def test_rules_are_zennit_s(name, zero):
    net, x = plain(), images(2, 32, 48).double()
    model = SegmentationModel(net, list("abcd"))
    engine = Engine(model, x, name, zero_bias=zero)
    run = engine.run(x, ["10"])
    mask = torch.ones(2, 32, 48, dtype=torch.bool)
    start = relevance_of_logits(run.logits, mask, 2)
    (low,) = run.at_layers(start, ["10"])
    hooks = composite(name, "0", "10", [SequentialMergeBatchNorm()], ZERO if zero else None)
    entered = x.clone().requires_grad_()
    with hooks.context(without_eps(net)) as hooked:
        (expected,) = torch.autograd.grad(hooked(entered), entered, low)
    difference = (run.at_input(start) - expected.sum(1)).abs().max()
    assert difference <= 1e-6 * expected.sum(1).abs().max()


class Low(nn.Module):
    """torchvision's DeepLabv3 without its last resize, which Zennit has no rule for."""

    def __init__(self, whole):
        super().__init__()
        self.backbone, self.classifier = whole.backbone, whole.classifier

    def forward(self, x):
        return self.classifier(self.backbone(x)["out"])


@pytest.mark.slow
def test_conditional_maps_of_deeplab_are_zennit_crp_s():
    """Maps of single channels of the last stage, by zennit-crp with Zennit's own canonizer."""
    attribution = pytest.importorskip("crp.attribution")
    whole, x = nets.model("deeplabv3_resnet50", zero_biases=False)
    net = Low(whole.module).eval()
    layer, last = "backbone.layer4", "classifier.4"
    run = Engine(SegmentationModel(net, list("abcd")), x).run(x, [layer, "classifier"])
    low = torch.zeros_like(run.activations["classifier"])
    low[:, 1] = run.activations["classifier"][:, 1]
    (relevance,) = torch.autograd.grad(
        run._held["classifier"], [run._held[layer]], low, retain_graph=True
    )
    units = relevance.sum((0, 2, 3)).topk(4).indices.tolist()
    found = run.conditional(layer, torch.stack([channel(relevance, k) for k in units]))[:, 0]
    hooks = composite("epsilon_plus", "", last, [ResNetCanonizer()])
    expected = attribution.CondAttribution(without_eps(net))(
        x.clone().requires_grad_(), [{"y": [1], layer: [k]} for k in units], hooks
    ).heatmap
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_conditional_maps_of_a_small_network_are_zennit_crp_s():
    attribution = pytest.importorskip("crp.attribution")
    net, x = plain(), images(1, 32, 48).double()
    run = Engine(SegmentationModel(net, list("abcd")), x).run(x, ["6", "10"])
    low = torch.zeros_like(run.activations["10"])
    low[:, 1] = run.activations["10"][:, 1]
    (relevance,) = torch.autograd.grad(run._held["10"], [run._held["6"]], low, retain_graph=True)
    found = run.conditional("6", torch.stack([channel(relevance, k) for k in range(12)]))[:, 0]
    hooks = composite("epsilon_plus", "", "10", [SequentialMergeBatchNorm()])
    expected = attribution.CondAttribution(without_eps(net))(
        x.clone().requires_grad_(), [{"y": [1], "6": [k]} for k in range(12)], hooks
    ).heatmap
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()

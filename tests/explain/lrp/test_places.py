"""Weights that are computed as the network runs: rules, folds and maps are those of plain ones."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from conceptseg.explain.explainers.lrp import Lrp
from conceptseg.explain.lrp.canonise import canonise
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.lrp import nets
from tests.small_models import images, seeded, wrapped

COMPOSITES = ["epsilon_plus_flat", "epsilon_plus", "plus", "gamma", "epsilon", "rescale"]


class Net(nn.Module):
    """Its second norm has a negative factor, which z+ tells from a positive one."""

    def __init__(self, norms=True):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6) if norms else nn.Identity()
        self.up = nn.ConvTranspose2d(6, 8, 2, 2, groups=2)
        self.other = nn.BatchNorm2d(8) if norms else nn.Identity()
        self.mix = nn.Conv2d(8, 8, 3, padding=1, stride=2, bias=False)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        return self.head(F.relu(self.mix(F.relu(self.other(self.up(x))))))


def network(norms):
    """In double precision: near zero sums magnify how weights were rounded."""
    net = seeded(lambda: Net(norms)).double().eval()
    if norms:
        for norm in (net.norm, net.other):
            width = norm.num_features
            norm.running_mean.copy_(torch.linspace(-0.4, 0.4, width))
            norm.running_var.copy_(torch.linspace(0.3, 2, width))
            norm.weight.data.copy_(torch.linspace(1.5, -1, width))
            norm.bias.data.copy_(torch.linspace(-0.2, 0.3, width))
    return net


class Standardised(nn.Conv2d):
    """A convolution that standardises its weight in its forward."""

    def standard(self):
        w = self.weight.flatten(1)[None]
        return F.batch_norm(w, None, None, training=True, momentum=0.0).reshape(self.weight.shape)

    def forward(self, x):
        return F.conv2d(x, self.standard(), self.bias, self.stride, self.padding)


class OwnKind(nn.Module):
    """A module of its own kind, with a weight that it halves."""

    def __init__(self, conv):
        super().__init__()
        self.kernel, self.bias, self.conv = conv.weight, conv.bias, [conv]

    def forward(self, x):
        conv = self.conv[0]
        if isinstance(conv, nn.ConvTranspose2d):
            return F.conv_transpose2d(
                x, self.kernel * 0.5, self.bias, conv.stride, conv.padding, groups=conv.groups
            )
        return F.conv2d(x, weight=self.kernel * 0.5, bias=self.bias, stride=conv.stride,
                        padding=conv.padding)  # fmt: skip


LAYERS = ("first", "up", "mix", "head")


def reparametrised(change):
    def changed(net):
        plain, other = net, copy.deepcopy(net)
        for name in LAYERS:
            change(getattr(other, name))
        other(images(1, 8, 12).double())
        with torch.no_grad():
            for name in LAYERS:
                getattr(plain, name).weight.copy_(getattr(other, name).weight)
        return plain, other

    return changed


def standardised(net):
    plain, other = net, copy.deepcopy(net)
    for name in ("first", "mix", "head"):
        old = getattr(net, name)
        new = Standardised(old.in_channels, old.out_channels, old.kernel_size, old.stride,
                           old.padding, bias=old.bias is not None).double()  # fmt: skip
        new.load_state_dict(old.state_dict())
        setattr(other, name, new)
        old.weight.data.copy_(new.standard().detach())
    return plain, other


def of_own_kind(net):
    plain, other = net, copy.deepcopy(net)
    for name in LAYERS:
        setattr(other, name, OwnKind(getattr(other, name)))
        getattr(plain, name).weight.data.mul_(0.5)
    return plain, other


def pruned(layer):
    prune.random_unstructured(layer, "weight", 0.3)


WAYS = {
    "weight_norm": reparametrised(parametrizations.weight_norm),
    "old weight_norm": reparametrised(nn.utils.weight_norm),
    "spectral_norm": reparametrised(lambda layer: parametrizations.spectral_norm(layer).eval()),
    "old spectral_norm": reparametrised(lambda layer: nn.utils.spectral_norm(layer).eval()),
    "pruned": reparametrised(pruned),
    "standardised": standardised,
    "of its own kind": of_own_kind,
}


def followed(engine, x):
    run = engine.run(x)
    region = torch.ones_like(run.logits[:, 0], dtype=torch.bool)
    return run.followed(relevance_of_logits(run.evidence, region, 1))


@pytest.mark.filterwarnings("ignore:.*is deprecated in favor of:FutureWarning")
@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_maps_are_those_of_the_network_with_the_same_weights_held(way, norms):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain, other = (wrapped(net.eval()) for net in WAYS[way](network(norms)))
    x = images(2, 8, 12).double()
    assert torch.allclose(plain(x), other(x), rtol=1e-12, atol=1e-12)
    engines = [Engine(model, x) for model in (plain, other)]
    assert [engine.canonical.folded for engine in engines] == [2 * norms] * 2
    for composite in COMPOSITES:
        (expected, told), (found, told_other) = (
            followed(engine.under(composite), x) for engine in engines
        )
        assert expected.abs().max() > 0
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-8 * float(expected.abs().max()))
        assert told.unplaced == told_other.unplaced == ()


@pytest.mark.filterwarnings("ignore:.*is deprecated in favor of:FutureWarning")
def test_the_network_itself_stays_as_it_was():
    net = network(True)
    parametrizations.weight_norm(net.first)
    nn.utils.weight_norm(net.mix)
    parametrizations.spectral_norm(net.head)
    net.train()
    x = images(1, 8, 12).double()
    model = wrapped(net).train()
    model.settle(x)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    hooks = [[*m._forward_pre_hooks, *m._forward_hooks] for m in net.modules()]
    kinds = [type(m) for m in net.modules()]
    followed(Engine(model, x, "gamma"), x)
    assert all(m.training for m in net.modules())
    net(x).sum().backward()  # it still learns
    assert [type(m) for m in net.modules()] == kinds
    assert [[*m._forward_pre_hooks, *m._forward_hooks] for m in net.modules()] == hooks
    assert not any("forward" in vars(m) for m in net.modules())
    assert net.first.parametrizations.weight.original1.grad is not None
    changes = ("running_", "num_batches", "_u", "_v")  # by the pass in training mode
    for key, value in net.state_dict().items():
        assert any(part in key for part in changes) or torch.equal(value, state[key])


@pytest.mark.filterwarnings("ignore:.*is deprecated in favor of:FutureWarning")
def test_a_weight_in_the_graph_of_an_earlier_pass_can_be_copied():
    net = network(False)
    nn.utils.weight_norm(net.mix)
    x = images(1, 8, 12).double()
    model = wrapped(net)
    model.settle(x)
    net(x)  # leaves a weight that hangs on its factors
    assert canonise(model, x).places.of_computed == {"mix": {0: "between"}}


class Functional(nn.Module):
    """All layers run in one module, `loops` image by image, with what is `held` or computed."""

    def __init__(self, held=False, loops=False):
        super().__init__()
        self.held, self.loops = held, loops
        self.a, self.b = (nn.Parameter(torch.randn(3, 3, 3, 3)) for _ in range(2))
        self.c = nn.Parameter(torch.randn(2, 3, 1, 1))

    def one(self, x):
        a, b, c = (w if self.held else w * 1 for w in (self.a, self.b, self.c))
        return F.conv2d(F.relu(F.conv2d(F.relu(F.conv2d(x, a)), b)), c)

    def forward(self, x):
        return torch.cat([self.one(part) for part in x.split(1)]) if self.loops else self.one(x)


def test_several_layers_of_one_module_are_told_by_number():
    x = images(2, 12, 12).double()
    models = [wrapped(seeded(lambda h=h: Functional(h)).double(), 2) for h in (True, False)]
    expected, found = (followed(Engine(model, x, "epsilon_plus_flat"), x)[0] for model in models)
    assert torch.equal(found, expected)


def test_layers_whose_place_is_not_known_are_remarked():
    """The pass of one image tells places; that of two runs twice as many layers."""
    x = images(2, 12, 12).double()
    model = wrapped(seeded(lambda: Functional(loops=True)).double(), 2)
    engine = Engine(model, x, "epsilon_plus_flat")
    assert followed(engine, x[:1])[1].unplaced == ()
    assert followed(engine, x)[1].unplaced == ("",)
    assert followed(engine.under("flat"), x)[1].unplaced == ()  # all layers have one rule
    held = wrapped(seeded(lambda: Functional(True, loops=True)).double(), 2)
    assert followed(Engine(held, x, "epsilon_plus_flat"), x)[1].unplaced == ()


class Branching(nn.Module):
    """Its last layer is another one for bright images."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.dark, self.bright = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        head = self.bright if float(x.mean()) > 0.5 else self.dark
        return head(F.relu(self.first(x)))


def test_the_remark_names_the_layers():
    model = wrapped(seeded(Branching).eval(), 2)
    x = torch.full((2, 3, 8, 8), 0.2)
    x[1] = 0.8
    for pair, names in ((x, True), (x[[0, 0]], False)):
        scene = Scene(model, pair, batch_size=1)
        Lrp(composite="gamma").on(scene, [Target(0, Everything())])
        said = " ".join(scene.remarks)
        assert ("Whether layers of 'bright' are the network's first or last" in said) == names


class Shared(nn.Module):
    """One layer that is the first and the last."""

    def __init__(self):
        super().__init__()
        self.twice = parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))

    def forward(self, x):
        return self.twice(F.relu(self.twice(x)))


class Dynamic(nn.Module):
    """A weight that depends on the image."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))

    def forward(self, x):
        return F.conv2d(x, self.weight * x.mean().sigmoid())


def test_a_layer_that_runs_twice_has_one_place():
    model, x = wrapped(seeded(Shared).double()), images(1, 8, 12).double()
    model.settle(x)
    places = canonise(model, x).places
    assert places.of_computed == {"twice": {0: "last"}}


def test_no_norm_is_folded_into_a_weight_that_an_image_makes():
    net = seeded(lambda: nn.Sequential(Dynamic(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    found = canonise(wrapped(net.double().eval(), 2), images(1, 8, 12).double())
    assert (found.norms, found.folded) == (1, 0)


def test_weights_of_a_pass_are_not_kept_for_the_next():
    net = network(False)
    parametrizations.weight_norm(net.first)
    x = images(1, 8, 12).double()
    engine = Engine(wrapped(net), x)
    sizes = []
    for _ in range(3):
        followed(engine, x)
        sizes.append(len(engine._weights._made))
    assert sizes == [3, 3, 3]


@pytest.mark.parametrize("name", [*nets.RECTIFIED, *nets.SIGNED])
def test_all_layers_of_known_networks_have_a_place(name):
    model, x = nets.model(name, False)
    assert followed(Engine(model, x), x)[1].unplaced == ()

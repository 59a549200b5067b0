"""Changes from a reference: by hand, by enumeration, by captum, and shared out in full."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.explain.explainers.lrp import Lrp
from conceptseg.explain.fill import filling
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.parts import channel, direction
from conceptseg.explain.lrp.rescale import slopes
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from tests.explain.lrp import nets
from tests.explain.lrp.test_rules import Call
from tests.small_models import images, seeded, unet, wrapped


def ran(model, x, layers=(), reference="black", columns=None, references=None):
    """A pass, and the relevance of class 1 in the whole image, or in its first columns."""
    run = Engine(model, x, "rescale", reference=reference).run(x, layers, references)
    mask = torch.zeros(len(x), *run.logits.shape[2:], dtype=torch.bool)
    mask[:, :, :columns] = True
    return run, relevance_of_logits(run.evidence, mask, 1)


class Silencing(nn.Module):
    """Class 1 is what is left of 1 when twice the image is taken away: z = -relu(1 - 2 x)."""

    def __init__(self):
        super().__init__()
        self.unit = nn.Conv2d(1, 1, 1)
        self.head = nn.Conv2d(1, 2, 1, bias=False)
        for parameter, value in ((self.unit.weight, -2.0), (self.unit.bias, 1.0)):
            parameter.data.fill_(value)
        self.head.weight.data.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))

    def forward(self, x):
        return self.head(torch.relu(self.unit(x)))


def test_what_speaks_by_silencing_is_seen_and_by_no_other_composite():
    model = wrapped(Silencing().double().eval(), 2, channels=1)
    x = torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    x[..., 0] = 0.8  # the unit is silent here: class 1 gains the whole of 1 against black
    x[..., 1] = 0.25  # and here it falls by half
    target = Target(1, Everything(), score="logit", reduce="sum")
    found = Lrp(composite="rescale", reference="black")(model, x, target)
    assert found[0].tolist() == [pytest.approx([1.0, 0.5, 0.0])] * 2
    for name in ("epsilon_plus", "gamma", "epsilon", "gradient_x_input"):
        assert Lrp(composite=name)(model, x, target)[0, :, 0].tolist() == [0.0, 0.0]


OPERATIONS = {
    "relu in place": lambda a: F.relu(a + 0.05, inplace=True),
    "silu": F.silu,
    "hardswish": lambda a: F.hardswish(a - 1),
    "gelu": lambda a: F.gelu(input=a),
    "power": lambda a: (a * a + 1) ** 1.5,
    "gate": lambda a: a * torch.sigmoid(a.mean((2, 3)))[:, :, None, None],
    "product": lambda a: a * a.flip(1),
    "in place": lambda a: a.clone().mul_(a).sub_(0.5 * a),
    "quotient": lambda a: a / (3 + a.flip(1)),
    "of a constant": lambda a: 2 / (3 + a),
    "reversed difference": lambda a: 3 - a,
    "maximum": lambda a: F.max_pool2d(a, 2),
    "overlapping maximum": lambda a: F.max_pool2d(a, 3, 2, 1),
    "largest channel": lambda a: a - a.max(1, keepdim=True)[0],
    "smallest place": lambda a: a - a.amin((2, 3))[:, :, None, None],
    "larger of two": lambda a: torch.maximum(a, a.flip(1) - 0.1),
    "smaller of it and a constant": lambda a: torch.minimum(a, a.new_full((1,), 0.2)),
    "mask by data": lambda a: torch.where(a > 0.1, a, 0.3 * a),
    "two of a mask": lambda a: torch.where(a > a.flip(1), a, a.flip(2)),
    "filled by data": lambda a: a.masked_fill(a < 0.05, 0.05),
    "gate by the largest probability": lambda a: a * (1 - a.softmax(1).max(1, keepdim=True)[0]),
    "adaptive maximum": lambda a: F.adaptive_max_pool2d(a, 3),
    "softmax": lambda a: a.softmax(1),
    "layer norm": lambda a: F.layer_norm(a, a.shape[2:]),
    "root mean square norm": lambda a: F.rms_norm(a, a.shape[2:]),
    "instance norm": lambda a: F.instance_norm(a),
    "running instance norm": lambda a: F.instance_norm(
        a, torch.full((4,), 0.1).double(), torch.full((4,), 2.0).double(), use_input_stats=False
    ),
    "group norm": lambda a: F.group_norm(a, 2),
    "constant per image": lambda a: a * a.new_full((len(a), 1, 1, 1), 2.0) + a.flip(1),
    "root": lambda a: F.relu(a).sqrt(),
    "matrices": lambda a: a @ a.transpose(-1, -2),
    "attention": lambda a: torch.softmax(a @ a.transpose(2, 3), -1) @ a,
    "fused attention": lambda a: F.scaled_dot_product_attention(a, a, a.flip(1)),
    "resized": lambda a: F.interpolate(a, scale_factor=2, mode="bilinear"),
    "moves": lambda a: torch.cat([a.roll(1, 2)[:, :2], a[:, 2:]], 1),
}


def around(function):
    """A convolution with a bias, the function, and one that reads out two classes."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Call(function), nn.LazyConv2d(2, 1))
    net(torch.zeros(1, 3, 12, 12))
    state = torch.random.get_rng_state()
    torch.manual_seed(3)
    for layer in (net[0], net[2]):
        layer.reset_parameters()
    torch.random.set_rng_state(state)
    return wrapped(net.double().eval(), 2)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_difference_is_shared_out_in_full(name):
    """At the layer before and at the image."""
    model, x = around(OPERATIONS[name]), images(2, 12, 12).double()
    blank = filling(model, x, "mean")
    whole = (model(x) - model(blank)).detach()[:, 1, :, :3]
    run, start = ran(model, x, ["0"], "mean", columns=3)
    normed = whole.sum((1, 2)) / whole.abs().sum((1, 2))
    (low,) = run.at_layers(start, ["0"])
    assert low.sum((1, 2, 3)).tolist() == pytest.approx(normed.tolist(), rel=1e-5, abs=1e-9)
    found = run.at_input(start)
    assert found.sum((1, 2)).tolist() == pytest.approx(normed.tolist(), rel=1e-5, abs=1e-9)
    assert float(found.abs().max()) > 1e-4


SHIFTED = {
    "softmax": lambda a, by: (a + by * a.mean(1, keepdim=True)).softmax(1),
    "attention": lambda a, by: (
        torch.softmax(a @ a.transpose(2, 3) + by * a.sum(3, keepdim=True), -1) @ a
    ),
}


@pytest.mark.parametrize("name", SHIFTED)
def test_softmax_does_not_see_what_is_added_to_all(name):
    """A shift of all scores changes nothing: e^x and its sum by themselves would blow up, and
    cancel."""
    x = images(1, 12, 12)
    sizes = []
    for by in (0.0, 20.0, 200.0):
        model = around(lambda a, by=by: SHIFTED[name](a, by))
        model.module.float()
        run, start = ran(model, x, columns=3)
        sizes.append(float(run.at_input(start).abs().sum()))
    assert max(sizes) < 30 * sizes[0]


@pytest.mark.parametrize("norm", [lambda a: F.instance_norm(a), lambda a: F.group_norm(a, 2)])
def test_norms_stay_bounded_where_the_reference_is_flat(norm):
    """The scale of a flat reference is 1 / sqrt(eps) = 316; its mean with the image's would give
    every place a hundred times what it changes, cancelled by its neighbours."""
    model = around(norm)
    model.module[0].padding_mode = "reflect"
    model.module[0]._reversed_padding_repeated_twice = [1] * 4
    run, start = ran(model, images(1, 12, 12).double(), ["0"], "mean", columns=3)
    (low,) = run.at_layers(start, ["0"])
    assert float(low.sum()) == pytest.approx(float(start.sum()), rel=1e-6)
    assert float(low.abs().sum()) < 20


def test_a_quotient_s_change_goes_to_the_smaller_scale():
    """a / b from 4 / 0.5 to 6 / 2: (6 - 4) / 2 = 1 to a, the rest, -6, to b."""
    model = halves(lambda a: a[:, :1] / a[:, 1:])
    run, start = ran(model, Q, ["0"], "grey", references=Q0)
    (low,) = run.at_layers(start, ["0"])
    assert (low[0, :, 0, 0] * 20).tolist() == pytest.approx([1.0, -6.0])


Q = torch.tensor([6.0, 2.0], dtype=torch.float64).view(1, 2, 1, 1).expand(-1, -1, 2, 2)
Q0 = torch.tensor([4.0, 0.5], dtype=torch.float64).view(1, 2, 1, 1).expand(-1, -1, 2, 2)


def halves(function):
    """Of an image of two colours one number, as class 1; class 0 is its negative."""
    last = nn.Conv2d(1, 2, 1, bias=False)
    last.weight.data.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    net = nn.Sequential(nn.Identity(), Call(function), last)
    return wrapped(net.double().eval(), 2, channels=2)


def test_products_are_shapley_s():
    """Of a product of two changes each factor has half of what both do together."""
    model = around(lambda a: a[:, :2] * a[:, 2:])
    x = images(1, 12, 12).double()
    run, start = ran(model, x, ["0"])
    (low,) = run.at_layers(start, ["0"])
    first, read_out = model.module[0], model.module[2].weight[1, :, 0, 0].detach()
    with torch.no_grad():
        own, other = first(x)[0], first(torch.zeros_like(x))[0]
    scale = run.evidence[0, 1].abs().sum()
    for i in range(2):
        a, b, a0, b0 = own[i], own[i + 2], other[i], other[i + 2]
        expected = ((a - a0) * b0 + a * b - a0 * b) / 2  # mean over both orders of changing
        expected = read_out[i] * expected / scale
        assert torch.allclose(low[0, i], expected, rtol=1e-6, atol=1e-9)


def test_maxima_by_hand():
    """c = max(y, y'): c - y' goes to the image's place, y - c to the reference's."""
    twice = nn.Conv2d(1, 2, 1, bias=False)
    twice.weight.data.fill_(1.0)
    net = nn.Sequential(twice, Call(lambda a: F.max_pool2d(a, 2)))
    model = wrapped(net.double().eval(), 2, channels=1)
    x = torch.tensor([[[[5.0, 1.0], [0.0, 2.0]]]], dtype=torch.float64) / 10
    run = Engine(model, x, "rescale", reference="grey").run(x)
    start = relevance_of_logits(run.evidence, torch.ones(1, 1, 1, dtype=torch.bool), 0)
    assert run.at_input(start).abs().sum() == 0  # 0.5 before and after: no change to share out
    rises = x + 0.2
    run = Engine(model, rises, "rescale", reference="grey").run(rises)
    start = relevance_of_logits(run.evidence, torch.ones(1, 1, 1, dtype=torch.bool), 0)
    assert run.at_input(start)[0].tolist() == [[pytest.approx(1.0), 0.0], [0.0, 0.0]]


def test_slopes_near_the_reference_are_derivatives():
    x = torch.tensor([1.0, 2.0, 1.0, 5.0], dtype=torch.float64)
    assert slopes(x, x**2, torch.square).tolist() == pytest.approx([2.0, 7.0])


LAYER = "6"


def peers():
    """Convolutions lie between all that is not linear: captum's hooks on two such modules in a row
    share one tensor, and then its own maps no longer sum to the difference."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.ELU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1),
        nn.Tanh(), nn.Upsample(scale_factor=4, mode="bilinear"), nn.Conv2d(8, 3, 1),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Setting forward:UserWarning")
@pytest.mark.parametrize("reference", ["black", "mean", "blur"])
def test_captum(reference):
    """The image's map and the layer's."""
    captum = pytest.importorskip("captum.attr")
    net = seeded(peers).double()
    model, x = wrapped(net), images(2, 16, 24).double()
    blank = filling(model, x, reference).clone()
    read = Call(lambda z: z[:, 1].sum((1, 2)))
    scored = nn.Sequential(net, read)
    entered = x.clone().requires_grad_()
    expected = captum.DeepLift(scored).attribute(entered, blank).sum(1).detach()
    run, start = ran(model, x, [LAYER], reference)
    scale = run.evidence[:, 1].abs().sum((1, 2))[:, None, None]
    found = run.at_input(start) * scale
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-8 * float(expected.abs().max()))
    theirs = captum.LayerDeepLift(scored, net[int(LAYER)]).attribute(entered, blank).detach()
    (ours,) = run.at_layers(start, [LAYER])
    ours = ours * scale[:, None]
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-8 * float(theirs.abs().max()))


def test_channels_and_directions_sum_to_the_whole():
    model, x = wrapped(seeded(peers).double()), images(2, 16, 24).double()
    run, start = ran(model, x, [LAYER])
    (relevance,) = run.at_layers(start, [LAYER])
    parts = torch.stack([channel(relevance, k) for k in range(8)])
    whole = run.at_input(start)
    for at_once in (1, 3):
        maps = run.conditional(LAYER, parts, at_once)
        assert torch.allclose(maps.sum(0), whole, atol=1e-12)
        assert torch.allclose(maps.sum((2, 3)), parts.sum((2, 3, 4)), atol=1e-12)
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator()))[0]
    along = [direction(relevance, run.worth(LAYER), v) for v in basis]
    assert torch.allclose(sum(along), relevance, atol=1e-9)


def test_images_do_not_depend_on_each_other():
    model, x = unet().double(), images(3, 32, 48).double()
    target = Target(1, Everything())
    explainer = Lrp(composite="rescale", reference="blur")
    together = explainer(model, x, target)
    alone = torch.cat([explainer(model, x[i : i + 1], target) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-12)
    run, _ = ran(model, x, ["mid"])
    assert run.logits.shape[0] == run.activations["mid"].shape[0] == 3
    assert torch.allclose(run.logits, model(x))


def marked(names):
    slow = ("resnet50", "espnet", "mobilenet")
    return [
        pytest.param(n, marks=[pytest.mark.slow] if any(s in n for s in slow) else [])
        for n in names
    ]


@pytest.mark.parametrize("name", marked([*nets.RECTIFIED, *nets.SIGNED, "segformer"]))
def test_networks_that_people_have(name):
    """With all their biases, gates, norms and attention."""
    model, x = nets.model(name, zero_biases=False)
    run, start = ran(model, x, (), "mean")
    told = run.retained(start)
    assert told.reached.signed == pytest.approx(told.given.signed, rel=1e-5, abs=1e-6)


NO_RULE = {
    "amax": lambda a: a - a.amax((0, 1), keepdim=True),
    "topk": lambda a: a.topk(2, 1)[0].repeat(1, 2, 1, 1),
    "mul": lambda a: a * (a > 0),
    "grid_sample": lambda a: F.grid_sample(a, a[:, :2].permute(0, 2, 3, 1), align_corners=False),
}


@pytest.mark.parametrize("name", NO_RULE)
def test_what_has_no_rule_is_named(name):
    with pytest.raises(InputError, match=rf"'{name}\w*' in module '1' \(Call\)"):
        Engine(around(NO_RULE[name]), images(1, 12, 12).double(), "rescale")


def test_a_flat_example_is_no_proof():
    """Nothing changes between a flat image and its mean, so the check takes another."""
    flat = torch.full((1, 3, 12, 12), 0.5, dtype=torch.float64)
    model = around(lambda a: F.relu(a.transpose(0, 1).contiguous()).transpose(0, 1))
    with pytest.raises(InputError, match="rescale shares out"):
        Engine(model, flat, "rescale")
    with pytest.raises(InputError, match="rescale shares out"):
        Engine(model, flat, "epsilon").under("rescale")


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


def test_a_module_with_a_state_is_named_among_references():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), Stateful(), nn.Conv2d(4, 2, 1)).double().eval()
    with pytest.raises(InputError, match=r"first module that differs is '1' \(Stateful\)"):
        Engine(wrapped(net, 2), images(1, 12, 12).double(), "rescale")


def test_changes_can_be_counted_from_another_image():
    model, x = wrapped(seeded(peers).double()), images(2, 16, 24).double()
    run, start = ran(model, x[:1], references=x[1:])
    whole = (model(x)[0, 1] - model(x)[1, 1]).detach()
    scale = whole.abs().sum()
    assert float(run.at_input(start).sum() * scale) == pytest.approx(float(whole.sum()))


def test_a_difference_that_is_not_shared_out_is_refused():
    """A batch that is moved away from the first axis mixes images with references."""
    model = around(lambda a: F.relu(a.transpose(0, 1).contiguous()).transpose(0, 1))
    with pytest.raises(InputError, match="rescale shares out"):
        Engine(model, images(1, 12, 12).double(), "rescale")


def test_probabilities_do_not_change_by_halves():
    with pytest.raises(ValueError, match="rescale shares out changes of logits"):
        Lrp(composite="rescale", start="probability")

"""Rules by hand: sums, gates, moves, and what has no rule."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.start import relevance_of_logits
from tests.small_models import Tokens, images, seeded, wrapped


class Around(nn.Module):
    """A positive convolution, something in the middle, and one that sums its channels."""

    def __init__(self, middle, units=4):
        super().__init__()
        self.first = nn.Conv2d(3, units, 1, bias=False)
        self.middle = middle
        self.last = nn.Conv2d(units, 2, 1, bias=False)
        for layer in (self.first, self.last):
            layer.weight.data.uniform_(0.5, 1.0)

    def forward(self, x):
        return self.last(self.middle(torch.relu(self.first(x))))


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def net(function):
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = wrapped(Around(Call(function)).double().eval(), 2)
    torch.random.set_rng_state(state)
    return model


def traced(model, x, composite="epsilon_plus", layers=(), **options):
    engine = Engine(model, x, composite, **options)
    run = engine.run(x, layers)
    mask = torch.ones(len(x), *run.logits.shape[2:], dtype=torch.bool)
    return run, relevance_of_logits(run.logits, mask, 1)


CONSERVING = {
    "sum": lambda a: a + 0.5 * a,
    "sum in place": lambda a: a.clone().add_(a),
    "difference": lambda a: a - 0.25 * a,
    "broadcast sum": lambda a: a + a.mean((2, 3), keepdim=True),
    "constant": lambda a: 3.0 + a,
    "scaled": lambda a: 2 * a / 5,
    "gate": lambda a: a * torch.sigmoid(a.mean((2, 3)))[:, :, None, None],
    "both factors": lambda a: a * a,
    "concatenation": lambda a: torch.cat([a[:, :1], a[:, 1:]], 1),
    "nearest": lambda a: F.interpolate(a, scale_factor=2),
    "bilinear": lambda a: F.interpolate(a, scale_factor=2, mode="bilinear"),
    "bilinear, corners": lambda a: F.interpolate(a, (9, 30), mode="bilinear", align_corners=True),
    "mean pooling": lambda a: F.avg_pool2d(a, 2),
    "maximum pooling": lambda a: F.max_pool2d(a, 2),
    "adaptive pooling": lambda a: F.adaptive_avg_pool2d(a, (3, 5)),
    "dropout": lambda a: F.dropout(a, 0.5, training=False),
    "silu": F.silu,
    "gelu": F.gelu,
    "hardswish in place": lambda a: F.hardswish(a.clone(), inplace=True),
    "shuffle": lambda a: a.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2),
    "attention": lambda a: torch.softmax(a @ a.transpose(2, 3), -1) @ a,
    "fused attention": lambda a: F.scaled_dot_product_attention(a, a, a),
    "affine": lambda a: a.mul(2.0).add(1.0),
    "maximum of two": lambda a: torch.maximum(a, 2 * a.flip(1)),
    "minimum of two": lambda a: torch.minimum(a, 2 * a.flip(1)),
    "largest": lambda a: a.max(1, keepdim=True)[0].expand_as(a),
    "smallest": lambda a: a.amin(1, keepdim=True).expand_as(a),
    "two largest": lambda a: a.topk(2, 1)[0].repeat(1, 2, 1, 1),
    "mask by data": lambda a: torch.where(a > a.mean(), a, 0.5 * a),
    "gate by the largest probability": lambda a: a * (1 - a.softmax(1).max(1, keepdim=True)[0]),
}


@pytest.mark.parametrize("name", CONSERVING)
def test_operations_hand_on_all_that_they_receive(name):
    x = images(2, 8, 12).double() + 0.1
    run, start = traced(net(CONSERVING[name]), x)
    given, told = start.sum((1, 2, 3)), run.at_input(start).sum((1, 2))
    assert told.tolist() == pytest.approx(given.tolist(), abs=2e-3)
    assert given.tolist() == pytest.approx([1.0, 1.0])


def test_what_a_norm_takes_off_before_the_last_layer_counts_as_its_bias():
    """The mean over a group, over its deviation: the map holds what the values alone add."""
    x = images(2, 8, 12).double() + 0.1
    model = net(lambda a: F.group_norm(a, 2))
    run, start = traced(model, x)
    with torch.no_grad():
        a = torch.relu(model.module.first(x))
        grouped = a.unflatten(1, (2, 2)).flatten(2)
        deviation = (grouped.var(2, unbiased=False) + 1e-5).sqrt().repeat_interleave(2, 1)
        alone = model.module.last(a / deviation[:, :, None, None])[:, 1].sum((1, 2))
    expected = alone / run.logits[:, 1].abs().sum((1, 2))
    assert torch.allclose(run.at_input(start).sum((1, 2)), expected, rtol=1e-4)


def test_a_plain_sum_doubles_and_a_ruled_one_does_not():
    """R(a + a) by the plain gradient is 2 R: why sums need a rule of their own."""
    x = images(1, 4, 6).double()
    run, start = traced(net(lambda a: a + a), x)
    a = run.entry.detach().clone().requires_grad_()
    (plain,) = torch.autograd.grad(a + a, a, torch.ones_like(a) / a.numel())
    assert float(plain.sum()) == 2.0
    assert float(run.at_input(start).sum()) == pytest.approx(1.0, abs=1e-4)


def test_a_sum_is_shared_in_proportion():
    """a + 3a: a quarter and three quarters, told at two layers."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.three = nn.Identity(), nn.Conv2d(3, 3, 1, bias=False)
            self.three.weight.data.copy_(3 * torch.eye(3)[:, :, None, None])
            self.last = nn.Conv2d(3, 2, 1, bias=False)
            self.last.weight.data.fill_(1.0)

        def forward(self, x):
            return self.last(self.one(x).clone() + self.three(x))

    x = images(1, 4, 6).double() + 0.1
    run, start = traced(wrapped(Two().double().eval(), 2), x, layers=["one", "three"])
    one, three = run.at_layers(start, ["one", "three"])
    assert float(three.sum()) == pytest.approx(0.75, abs=1e-4)
    # `one` is the image itself, to which the other branch's share comes too.
    assert float(run.at_input(start).sum()) == pytest.approx(1.0, abs=1e-4)
    assert one.shape == three.shape


@pytest.mark.parametrize("zero", [True, False])
def test_biases_take_their_share_only_when_asked(zero):
    model = net(nn.Conv2d(4, 4, 1))
    middle = model.module.middle.function
    middle.weight.data.uniform_(0.5, 1.0)
    middle.bias.data.fill_(5.0)
    run, start = traced(model, images(1, 4, 6).double() + 0.1, zero_bias=zero, composite="epsilon")
    told = float(run.at_input(start).sum())
    if zero:
        assert told == pytest.approx(1, abs=1e-4)
        return
    logits = run.logits[:, 1]
    taken = float(model.module.last.weight[1].detach().sum()) * 5
    assert told == pytest.approx(float((logits - taken).sum() / logits.sum()), abs=1e-4)


@pytest.mark.parametrize("composite", ["epsilon_plus", "plus", "gamma", "epsilon"])
def test_logits_near_their_bias_magnify_nothing(composite):
    """Two units that cancel all but to nothing, and a bias: each has what it adds, w a / sum |z|.

    Over the sums without the bias it would be up to 5e5 times that.
    """
    last = nn.Conv2d(2, 2, 1).double()
    last.weight.data.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]])[:, :, None, None])
    last.bias.data.fill_(0.5)
    x = images(1, 4, 6).double() + 0.5
    x[:, 1] = x[:, 0] + 1e-6
    model = wrapped(nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), last).double(), 2)
    model.module[0].weight.data.copy_(torch.eye(3)[:2, :, None, None])
    run, start = traced(model, x, composite, ["1"])
    (found,) = run.at_layers(start, ["1"])
    logits = x[:, :1] - x[:, 1:2] + 0.5
    expected = torch.cat([x[:, :1], -x[:, 1:2]], 1) / logits.abs().sum()
    assert torch.allclose(found, expected, rtol=1e-4)


def test_flat_spreads_evenly_whatever_the_image():
    """Of one output pixel under two 3 x 3 layers: the convolution of two boxes, by hand."""
    module = nn.Sequential(
        nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(1), nn.Conv2d(2, 2, 3, padding=1)
    )
    model = wrapped(module.double().eval(), 2)
    x = images(1, 9, 9).double()
    run, _ = traced(model, x, "flat")
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 4, 4] = True
    found = run.at_input(relevance_of_logits(run.logits, mask, 0, "one"))[0]
    box = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], dtype=torch.float64) / 9
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[2:7, 2:7] = box[:, None] * box[None]
    assert torch.allclose(found, expected, atol=1e-6)


def test_what_is_lost_is_told_by_module():
    model = net(lambda a: a)
    model.module.first.weight.data[:2] *= -1  # two channels without a positive part
    model.module.first.bias = nn.Parameter(torch.full((4,), 4.0, dtype=torch.float64))
    run, start = traced(model, images(1, 4, 6).double() + 0.1)
    told = run.retained(start)
    rows = {one.name: (one.received.signed, one.passed.signed) for one in told.modules}
    assert rows["last"] == pytest.approx((1, 1), abs=1e-4)
    received, passed = rows["first"]
    assert received == pytest.approx(1, abs=1e-4) and passed == pytest.approx(told.reached.signed)
    assert 0.1 < passed < 0.9


def test_a_module_without_a_rule_is_named():
    with pytest.raises(InputError, match=r"'cumsum' in module 'middle' \(Call\)"):
        traced(net(lambda a: a.cumsum(1)), images().double())


def test_attention_inside_one_call_is_named():
    with pytest.raises(InputError, match=r"multi_head_attention.*MultiheadAttention"):
        Engine(wrapped(seeded(Tokens)), images(1, 16, 24))


def test_probabilities_for_logits_are_refused():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Softmax(1))
    with pytest.raises(InputError, match="ends in a softmax"):
        Engine(wrapped(module.eval(), 2), images())

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
    "group norm": lambda a: F.group_norm(a, 2),
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
    if name != "group norm":  # which makes logits of both signs
        assert given.tolist() == pytest.approx([1.0, 1.0])


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


def test_biases_take_their_share_only_when_asked():
    model = net(lambda a: a)
    model.module.last.bias = nn.Parameter(torch.full((2,), 5.0, dtype=torch.float64))
    x = images(1, 4, 6).double() + 0.1
    run, start = traced(model, x)
    assert float(run.at_input(start).sum()) == pytest.approx(1, abs=1e-4)
    run, start = traced(model, x, zero_bias=False)
    logits = run.logits.detach()[:, 1]
    expected = float(((logits - 5) / logits.sum()).sum())
    assert float(run.at_input(start).sum()) == pytest.approx(expected, abs=1e-4)


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

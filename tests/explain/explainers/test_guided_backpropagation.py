import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conceptseg.errors import InputError
from conceptseg.explain.explainers.guided_backpropagation import GuidedBackpropagation
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import hooks, images, seeded, unet, wrapped

WHOLE = Target(1, Everything(), score="logit", reduce="sum")
SIGNED = GuidedBackpropagation(reduce="sum")


class Layers(nn.Module):
    """Three convolutions, with something after the first two."""

    def __init__(self, first, second, kernel=3):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, padding=kernel // 2) for a, b in ((3, 6), (6, 6), (6, 2))
        )
        self.first = first
        self.second = second

    def forward(self, x):
        x = self.first(self.convs[0](x))
        return self.convs[2](self.second(self.convs[1](x)))


def layers(first, second=None, **arguments):
    return wrapped(seeded(lambda: Layers(first, second or first, **arguments)), 2)


def both_ways(model, x, target=WHOLE):
    return SIGNED(model, x, target), VanillaSaliency(reduce="sum")(model, x, target)


def test_the_rule_by_hand():
    """Pixel by pixel, for 1 x 1 convolutions: R_in = R_out [input > 0] [R_out > 0]."""
    model, x = layers(nn.ReLU(), nn.ReLU(), kernel=1), images(1, 4, 5)
    weights = [conv.weight.detach()[:, :, 0, 0] for conv in model.module.convs]
    biases = [conv.bias.detach() for conv in model.module.convs]
    expected = torch.zeros(3, 4, 5)
    for y in range(4):
        for z in range(5):
            low = weights[0] @ x[0, :, y, z] + biases[0]
            high = weights[1] @ low.clamp(min=0) + biases[1]
            relevance = weights[2][1] * (high > 0) * (weights[2][1] > 0)
            relevance = weights[1].T @ relevance
            relevance = relevance * (low > 0) * (relevance > 0)
            expected[:, y, z] = weights[0].T @ relevance
    for reduce, reduced in (("sum", expected.sum(0)), ("max_abs", expected.abs().amax(0))):
        found = GuidedBackpropagation(reduce=reduce)(model, x, WHOLE)[0]
        assert torch.allclose(found, reduced, atol=1e-6)


RECTIFIERS = {
    "in place": nn.ReLU(inplace=True),
    "function": F.relu,
    "function in place": lambda x: F.relu(x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clip in place": lambda x: x.clip_(0),
    "threshold": nn.Threshold(0, 0),
    "ReLU6": nn.ReLU6(),
    "ReLU6 in place": nn.ReLU6(inplace=True),
    "function ReLU6": F.relu6,
    "clamped to 6": lambda x: x.clamp(0, 6),
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_every_way_to_write_a_rectifier(name):
    """Each of them also serves twice in the pass."""
    expected, plain = both_ways(layers(nn.ReLU(), nn.ReLU()), images(2))
    found, same = both_ways(layers(RECTIFIERS[name]), images(2))
    assert torch.allclose(same, plain, atol=1e-6)
    assert torch.allclose(found, expected, atol=1e-6)
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()


BENT = {
    "GELU": nn.GELU(),
    "GELU by tanh": nn.GELU("tanh"),
    "SiLU": nn.SiLU(),
    "SiLU in place": nn.SiLU(inplace=True),
    "hardswish": nn.Hardswish(),
    "Mish": nn.Mish(),
    "ELU": nn.ELU(0.7),
    "ELU in place": nn.ELU(inplace=True),
    "SELU": nn.SELU(),
    "CELU": nn.CELU(),
    "RReLU": nn.RReLU().eval(),
    "leaky ReLU": nn.LeakyReLU(0.1),
    "leaky ReLU in place": nn.LeakyReLU(0.1, inplace=True),
    "PReLU": nn.PReLU(init=0.4),
    "PReLU by channel, one that falls": nn.PReLU(6),
}
with torch.no_grad():
    BENT["PReLU by channel, one that falls"].weight[2] = -0.5


@pytest.mark.parametrize("name", BENT)
def test_activations_that_dampen_are_guided_by_the_plain_rule(name):
    """Pixel by pixel, for 1 x 1 convolutions: R_in = f'(input) R_out [input > 0] [R_out > 0]."""
    act = BENT[name]
    model, x = layers(act, kernel=1), images(1, 3, 4)
    weights = [conv.weight.detach()[:, :, 0, 0] for conv in model.module.convs]
    biases = [conv.bias.detach() for conv in model.module.convs]

    def bent(v):
        v = v.clone().requires_grad_()
        y = act((v + 0.0)[None, :, None, None])[0, :, 0, 0]
        (slope,) = torch.autograd.grad(y.sum(), v)
        return y.detach(), slope

    expected = torch.zeros(3, 4)
    for i in range(3):
        for j in range(4):
            low = weights[0] @ x[0, :, i, j] + biases[0]
            kept, slope_low = bent(low)
            high = weights[1] @ kept + biases[1]
            _, slope_high = bent(high)
            r = weights[2][1] * (weights[2][1] > 0) * (high > 0) * slope_high
            r = weights[1].T @ r
            r = r * (r > 0) * (low > 0) * slope_low
            expected[i, j] = (weights[0].T @ r).sum()
    found, plain = both_ways(model, x)
    assert torch.allclose(found[0], expected, atol=1e-6)
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()


OTHERS = [
    nn.Softplus(),
    nn.Tanh(),
    nn.Hardtanh(),
    lambda x: x.clamp(0, 1),
    lambda x: torch.maximum(x, 0.5 * x),
]


@pytest.mark.parametrize("other", OTHERS)
def test_other_activations_pass_their_gradient(other):
    """Beside a rectifier; the gradient at the others is the true one, that of a twin by hand."""
    model, x = layers(nn.ReLU(), other), images(1)

    class Cut(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return v.clamp(min=0)

        @staticmethod
        def backward(ctx, gradient):
            return gradient.clamp(min=0) * (ctx.saved_tensors[0] > 0)

    twin = layers(Cut.apply, other)
    expected = VanillaSaliency(reduce="sum")(twin, x, WHOLE)
    assert torch.allclose(SIGNED(model, x, WHOLE), expected, atol=1e-7)


@pytest.mark.parametrize("other", [*OTHERS, nn.Identity()])
def test_a_network_without_anything_to_guide_is_refused(other):
    model, x = layers(other), images(1)
    with pytest.raises(InputError, match="finds no rectifier in the network.*vanilla_saliency"):
        SIGNED(model, x, WHOLE)
    assert not hooks(model)


def test_where_all_is_positive_it_is_the_gradient():
    model = layers(nn.ReLU(), nn.ReLU())
    for parameter in model.parameters():
        parameter.data.abs_()
    found, plain = both_ways(model, images(2))
    assert plain.min() > 0 and torch.equal(found, plain)


def test_captum():
    captum = pytest.importorskip("captum.attr")
    model, x = layers(nn.ReLU(), nn.ReLU()), images(2)
    target = Target(1, Everything())
    with torch.no_grad():
        fixed = target.on(model(x))

    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, batch):
            return fixed(self.model(batch))

    with pytest.warns(UserWarning, match="ReLU"):
        expected = captum.GuidedBackprop(Score()).attribute(x.clone().requires_grad_())
    found = GuidedBackpropagation()(model, x, target)
    assert torch.allclose(found, expected.abs().amax(1), atol=1e-6 * float(found.max()))
    assert torch.allclose(SIGNED(model, x, target), expected.sum(1), atol=1e-6 * float(found.max()))


def test_residuals_skips_and_rectifiers_used_twice():
    """A U-Net whose rectifiers were rewritten as an autograd function gives the same map."""
    model, x = unet(), images(2)

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(context, gradient):
            (x,) = context.saved_tensors
            return gradient * (x > 0) * (gradient > 0)

    found, plain = both_ways(model, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "relu", lambda x, inplace=False: Guided.apply(x))
        expected = VanillaSaliency(reduce="sum")(model, x, WHOLE)
    assert (expected - plain).abs().max() > 0.1 * plain.abs().max()
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


class CheckpointFunction(torch.autograd.Function):
    """An activation checkpointing of the network's own, which nobody can switch off."""

    @staticmethod
    def forward(context, part, x):
        context.part = part
        context.save_for_backward(x)
        return part(x)

    @staticmethod
    def backward(context, gradient):
        with torch.enable_grad():
            x = context.saved_tensors[0].detach().requires_grad_()
            (found,) = torch.autograd.grad(context.part(x), x, gradient)
        return None, found


def test_a_part_that_cannot_be_seen():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())

        def forward(self, x):
            return CheckpointFunction.apply(self.part, x) if x.requires_grad else self.part(x)

    model = wrapped(seeded(Checkpointed), 2)
    with pytest.raises(InputError, match="cannot see the rectifiers"):
        GuidedBackpropagation()(model, images(1), WHOLE)
    assert hooks(model) == 0


class Beside(nn.Sequential):
    """With a rectifier beside it that nothing comes through."""

    def forward(self, x):
        return super().forward(x) + 0 * x[:, :1].relu()


def dropped(dropout, kernel=1):
    """Two convolutions with dropout between them, and no rectifier on the way."""
    build = lambda: Beside(  # noqa: E731
        nn.Conv2d(3, 5, kernel, padding=kernel // 2), dropout, nn.Conv2d(5, 2, 1)
    )
    return wrapped(seeded(build), 2)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
def test_moments_under_dropout(kind):
    """Of sum_k v_k m_k w_k / (1 - p), with m_k kept by 1 - p: mean and variance are known."""
    p, samples = 0.3, 400
    model, x = dropped(kind(p)), images(1, 8, 10)
    inner = model.module[0].weight.detach()[:, :, 0, 0].sum(1)
    parts = model.module[2].weight.detach()[1, :, 0, 0] * inner
    spread = (parts.square() * p / (1 - p)).sum()
    mean, std = (
        GuidedBackpropagation(reduce="sum", samples=samples, statistic=name)(model, x, WHOLE)[0]
        for name in ("mean", "std")
    )
    # Whole channels drop together, so all pixels are one draw; else each has its own.
    draws = samples * (1 if kind is nn.Dropout2d else mean.numel())
    assert (mean == mean[0, 0]).all() == (kind is nn.Dropout2d)
    assert abs(mean.mean() - parts.sum()) < 5 * (spread / draws).sqrt()
    assert abs(std.square().mean() / spread - 1) < 10 / draws**0.5


def test_dropout_of_all():
    """p = 1 leaves nothing of what follows, and no division by zero."""
    mc = GuidedBackpropagation(samples=2)
    assert mc(dropped(nn.Dropout(1.0)), images(1), WHOLE).abs().max() == 0


MC = GuidedBackpropagation(samples=3)


def test_dropout_does_not_hang_on_the_batch():
    model, x = dropped(nn.Dropout(0.5), kernel=3), images(3)
    targets = [WHOLE, Target(0)]
    whole = MC.on(Scene(model, x), targets)
    assert torch.allclose(MC.on(Scene(model, x, batch_size=2), targets), whole, atol=1e-6)
    for i in range(3):
        alone = MC.on(Scene(model, x[i : i + 1]), targets)
        assert torch.allclose(alone[:, 0], whole[:, i], atol=1e-6)
    assert torch.allclose(MC(model, x, targets[1]), whole[1], atol=1e-6)
    assert not torch.allclose(MC.model_copy(update={"seed": 1})(model, x, WHOLE), whole[0])


def test_dropout_leaves_no_trace():
    model, x = dropped(nn.Dropout(0.5)), images(1)
    plain = GuidedBackpropagation()(model, x, WHOLE)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert not torch.allclose(MC(model, x, WHOLE), plain)
    assert torch.equal(torch.rand(1), expected)
    assert hooks(model) == 0 and not model.module[1].training
    assert torch.equal(GuidedBackpropagation()(model, x, WHOLE), plain)


@pytest.mark.parametrize("model", [unet(), dropped(nn.Dropout(0.0))])
def test_no_dropout(model):
    with pytest.raises(InputError, match="has no dropout module that drops anything"):
        MC(model, images(1), WHOLE)

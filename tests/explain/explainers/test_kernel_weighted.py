import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.errors import InputError
from conceptseg.explain.explainers.kernel_weighted import KernelWeighted
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Recorder, Tail
from tests.explain.explainers.planted import Split, linear_tail, red_finder, two_red_squares
from tests.small_models import images, unet, wrapped

TARGET = Target(1, Box(2, 3, 12, 20))
LAYERS = ("enc2.short", "up2", "dec1.conv1", "up1")


def probability(model, x, target):
    with torch.no_grad():
        return model(x).softmax(1)[0, target.class_id] * target.on(model(x)).mask[0]


def contribution(whole, without, only):
    """The paper's weight of one unit, pixel by pixel."""
    dependent = independent = 0.0
    for p, q, r in zip(*(part.flatten().tolist() for part in (whole, without, only)), strict=True):
        dependent += p - min(q, p)
        independent += min(r, p)
    return dependent * independent / whole.sum().item()


def weights_by_surgery(model, x, target, layer, empty):
    """Weights of a convolution's units from networks whose kernels were cut out, and its output."""
    axis = 1 if isinstance(model.module.get_submodule(layer), nn.ConvTranspose2d) else 0
    mask = target.on(model(x)).mask[0]

    def run(kernels):
        cut = copy.deepcopy(model)
        cut.module.get_submodule(layer).weight.data = kernels.movedim(0, axis)
        with torch.no_grad():
            return cut(x).softmax(1)[0, target.class_id] * mask

    kernels = model.module.get_submodule(layer).weight.detach().movedim(axis, 0)
    empty = empty.movedim(axis, 0)
    found = []
    for k in range(len(kernels)):
        lost, alone = kernels.clone(), empty.clone()
        lost[k], alone[k] = empty[k], kernels[k]
        found.append(contribution(run(kernels), run(lost), run(alone)))
    return torch.tensor(found, dtype=x.dtype)


def weights_by_editing(model, x, target, layer):
    """Weights of a layer's units from passes in which its output is set to zero by a hook."""

    def run(edit):
        with torch.no_grad(), Recorder(model, [], edit={layer: edit}) as recorder:
            logits = recorder(x)
        return logits.softmax(1)[0, target.class_id] * mask

    mask = target.on(model(x)).mask[0]
    units = Tail.of(model, x, layer).activation.shape[1]
    whole, found = run(lambda a: a), []
    for k in range(units):
        one = torch.zeros(units, dtype=x.dtype)
        one[k] = 1
        one = one.view(-1, 1, 1)
        lost, alone = run(lambda a, m=one: a * (1 - m)), run(lambda a, m=one: a * m)
        found.append(contribution(whole, lost, alone))
    return torch.tensor(found, dtype=x.dtype)


def weights_of(explainer, model, x, target, layer):
    scene = Scene(model, x)
    tail = Tail.of(model, x, layer)
    emptied = explainer.without(scene, layer, tail.activation)
    return explainer.weights_of(scene, tail, emptied, [scene.fix(target)])[0]


@pytest.fixture(scope="module")
def model():
    return unet().double()


@pytest.fixture(scope="module")
def x():
    return images(1).double()


@pytest.mark.parametrize("layer", LAYERS)
def test_kernels_that_were_cut_out(model, x, layer):
    empty = torch.zeros_like(model.module.get_submodule(layer).weight)
    expected = weights_by_surgery(model, x, TARGET, layer, empty)
    found = weights_of(KernelWeighted(removed="kernel"), model, x, TARGET, layer)[0]
    assert expected.max() > 0
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_kernels_that_became_noise(model, x, layer):
    """Uniform within sqrt(6 / (inputs + outputs of a position)), drawn from the seed."""
    weight = model.module.get_submodule(layer).weight
    bound = math.sqrt(6 / (weight[0].numel() + weight[:, 0].numel()))
    drawn = torch.empty(weight.shape)
    drawn.uniform_(-bound, bound, generator=torch.Generator().manual_seed(7))
    expected = weights_by_surgery(model, x, TARGET, layer, drawn.double())
    explainer = KernelWeighted(form="2022", seed=7)
    found = weights_of(explainer, model, x, TARGET, layer)[0]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-9)
    other = weights_of(KernelWeighted(form="2022", seed=8), model, x, TARGET, layer)[0]
    assert not torch.allclose(found, other, rtol=1e-3)


@pytest.mark.parametrize("layer", [*LAYERS, "mid", "dec1.relu"])
def test_activations_that_became_zero(model, x, layer):
    expected = weights_by_editing(model, x, TARGET, layer)
    found = weights_of(KernelWeighted(), model, x, TARGET, layer)[0]
    assert expected.max() > 0
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("form", ["2022", "2023"])
def test_maps_are_combined_as_published(model, x, form):
    layers = ("up2", "dec1.conv1")
    explainer = KernelWeighted(form=form, removed="kernel", layers=layers)
    total = torch.zeros(16, 24, dtype=torch.float64)
    for layer in layers:
        weights = weights_of(explainer, model, x, TARGET, layer)[0]
        activation = Tail.of(model, x, layer).activation[0]
        if form == "2022":
            weights = (weights - weights.min()) / (weights.max() - weights.min())
        one = torch.zeros(activation.shape[1:], dtype=torch.float64)
        for weight, unit in zip(weights, activation, strict=True):
            scaled = unit.clamp(min=0) if form == "2022" else unit.abs() / activation.abs().max()
            one += weight * scaled
        one = functional.interpolate(one[None, None], (16, 24), mode="bilinear")[0, 0]
        if form == "2022":
            one = (one - one.min()) / (one.max() - one.min()) / len(layers)
        total += one
    found = explainer(model, x, TARGET)[0]
    assert torch.allclose(found, total.float(), rtol=1e-4, atol=1e-6 * float(total.max()))


class Odds(nn.Module):
    """Logits whose softmax gives class 1 the weighted sum of all units."""

    def __init__(self, *signs):
        super().__init__()
        self.signs = signs

    def forward(self, activation):
        signs = torch.tensor(self.signs, dtype=activation.dtype).view(1, -1, 1, 1)
        share = (activation * signs).sum(1, keepdim=True).clamp(1e-12, 1 - 1e-12)
        return torch.cat((1 - share, share), 1).log()


def additive(*signs):
    """Units a_k in 0..1/4; the third is dead."""
    encoder = nn.Conv2d(3, len(signs), 1, bias=False)
    encoder.weight.data = torch.zeros(len(signs), 3, 1, 1)
    for k in range(len(signs)):
        if k != 2:
            encoder.weight.data[k, k % 3] = 0.25 / (1 + k)
    return wrapped(Split(encoder, Odds(*signs)), 2)


def test_closed_form_of_an_additive_network():
    """P = sum_k a_k: w_k = (sum over pixels of a_k)^2 / sum P."""
    model, x = additive(1, 1, 1, 1), images(2)
    target = Target(1, Box(1, 2, 9, 20))
    tail = Tail.of(model, x, "encoder")
    inside = tail.activation * target.on(tail.logits).mask[:, None]
    expected = inside.sum((2, 3)) ** 2 / inside.sum((1, 2, 3))[:, None]
    found = weights_of(KernelWeighted(), model, x, target, "encoder")
    assert expected[:, 2].max() == 0 and expected[:, 0].min() > 0
    assert torch.allclose(found, expected, rtol=1e-4)
    assert found[:, 2].max() == 0


def test_a_unit_that_speaks_against_the_class_weighs_nothing():
    model, x = additive(1, 1, 1, -0.5), images(1)
    found = weights_of(KernelWeighted(), model, x, Target(1, Everything()), "encoder")[0]
    assert found[3] == 0 and found[:2].min() > 0


def test_weights_lie_between_nothing_and_the_whole_prediction(model, x):
    """0 <= Dep, Ind <= sum P, so 0 <= w <= sum P."""
    for removed in ("activation", "kernel", "noise"):
        for layer in LAYERS:
            found = weights_of(KernelWeighted(removed=removed), model, x, TARGET, layer)
            assert found.min() >= 0
            assert found.max() <= probability(model, x, TARGET).sum()


def test_the_bias_is_what_tells_zero_kernels_from_zero_outputs(model, x):
    """They agree on dec1.conv1, which has none, and differ on up2, which has one."""
    for layer, same in (("dec1.conv1", True), ("up2", False)):
        kernel = weights_of(KernelWeighted(removed="kernel"), model, x, TARGET, layer)
        output = weights_of(KernelWeighted(removed="activation"), model, x, TARGET, layer)
        assert torch.allclose(kernel, output, rtol=1e-9) == same


def test_it_finds_the_unit_that_the_class_is_made_of():
    model, x = red_finder(), two_red_squares()
    found = weights_of(KernelWeighted(), model, x, Target(1), "encoder")[0]
    assert found[0] > 0 and torch.equal(found[1:], torch.zeros(2))
    maps = KernelWeighted(layers=("encoder",))(model, x, Target(1))[0]
    assert torch.equal(maps > 0, model(x).argmax(1)[0] == 1)


def test_the_most_energetic_units_alone(model, x):
    full = weights_of(KernelWeighted(), model, x, TARGET, "mid")[0]
    few = weights_of(KernelWeighted(channels=4), model, x, TARGET, "mid")[0]
    chosen = Tail.of(model, x, "mid").activation[0].square().sum((1, 2)).topk(4).indices
    rest = torch.ones(16, dtype=torch.bool).index_fill(0, chosen, False)
    assert torch.allclose(few[chosen], full[chosen], rtol=1e-9) and full[rest].max() > 0
    assert few[rest].abs().max() == 0


def test_layers_by_year():
    """2023: encoder and decoder; 2022: the decoder alone."""
    model, x = unet(), images(1)
    decoder = tuple(f"dec{i}.{part}" for i in (2, 1) for part in ("conv1", "conv2", "short"))
    decoder = ("up2", *decoder[:3], "up1", *decoder[3:])
    named = KernelWeighted(form="2022", layers=decoder)(model, x, TARGET)
    assert torch.equal(KernelWeighted(form="2022")(model, x, TARGET), named)
    encoder = tuple(f"enc{i}.{part}" for i in (1, 2) for part in ("conv1", "conv2", "short"))
    named = KernelWeighted(layers=encoder + decoder)(model, x, TARGET)
    assert torch.equal(KernelWeighted()(model, x, TARGET), named)


def test_layers_without_kernels():
    model, x = unet(), images(1)
    for removed in ("kernel", "noise"):
        with pytest.raises(InputError, match="'mid' is a Block, .* take removed: activation"):
            KernelWeighted(layers=("mid",), removed=removed)(model, x, TARGET)
    with pytest.raises(InputError, match="layer 'mud' does not exist"):
        KernelWeighted(layers=("mud",))(model, x, TARGET)
    with pytest.raises(InputError, match="name layers"):
        KernelWeighted(form="2022")(linear_tail(), x, TARGET)

"""The short way to what all units matter: that it is taken, is exact, and is not taken in vain."""

import pytest
import torch
from torch import nn

from conceptseg.explain.ablation import fall
from conceptseg.explain.ablation.affine import affine_end, folded_norms
from conceptseg.explain.ablation.fall import falls, shortened
from conceptseg.explain.ablation.recording import record
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import undisturbed
from tests.explain.explainers import tails
from tests.small_models import ChannelsLast, Tokens, UNet, hooks, images, seeded, wrapped

LINEAR = Target(1, Everything(), "logit", "sum")
CURVED = Target(2, Box(1, 2, 14, 20))
TARGETS = [
    LINEAR,
    CURVED,
    Target(0, Box(5, 0, 30, 40), "centred"),
    Target(1, Everything(), "probability"),
]

SHORT = {
    "affine": (tails.Head, "layer", {"unit"}),
    "gate": (tails.Gate, "layer", {"unit", "spread", "whole"}),
    "pyramid": (tails.Pyramid, "layer", {"unit", "spread", "whole"}),
    "unit by unit": (tails.UnitByUnit, "layer", {"unit", "norm", "join", "spread", "whole"}),
    "before a norm": (tails.Gate, "value.0", {"unit", "norm", "whole"}),
    "residual": (tails.Residual, "layer", {"unit", "spread", "whole"}),
    "windows": (tails.Windows, "layer", {"unit", "whole"}),
    "unet": (UNet, "mid", {"unit", "spread", "whole"}),
    "tokens": (Tokens, "blocks.0", {"whole"}),
    "channels last": (ChannelsLast, "middle", {"unit", "whole", "spread"}),
}
PLAIN = [tails.Random, tails.Deciding, tails.Elsewhere, tails.Patchwork, tails.Buffered]


def scene_of(build, n=2):
    return Scene(wrapped(seeded(build)).double(), images(n, 32, 48).double(), batch_size=7)


def brute(scene, layer, target):
    """T - T_k by whole passes of the network, one for each unit, with a hook on the layer."""
    score, module = scene.fix(target), scene.model.module.get_submodule(layer)
    tail = scene.tail(layer)
    found = []
    with torch.no_grad():
        for k in range(tail.activation.shape[1]):
            whole = tail.activation.detach().clone()
            whole[:, k] = 0
            handle = module.register_forward_hook(lambda *_, w=whole: tail._restores[layer](w))
            found.append(score(tail.logits) - score(scene.model(scene.images)))
            handle.remove()
    return torch.stack(found, 1)


@pytest.mark.parametrize("name", SHORT)
def test_the_short_way_is_exact(name):
    build, layer, kinds = SHORT[name]
    scene = scene_of(build)
    scores = [scene.fix(target) for target in TARGETS]
    with undisturbed(scene.model):
        short = shortened(scene.tail(layer), scores)
        assert short is not None and set(short.kinds) <= kinds
        units = torch.arange(scene.tail(layer).activation.shape[1]).expand(2, -1)
        with torch.no_grad():
            # Parts of several sizes, for each of which the tape is made anew.
            parts = [short.falls(part) for part in units.split((1, 4, units.shape[1] - 5), 1)]
    found = torch.cat(parts, 2)
    for target, given in zip(TARGETS, found, strict=True):
        expected = brute(scene, layer, target)
        assert expected.abs().max() > 0
        assert torch.allclose(given, expected, rtol=1e-7, atol=1e-10 * float(expected.abs().max()))


def test_every_kind_of_step_was_met():
    met = set()
    for build, layer, _ in SHORT.values():
        scene = scene_of(build)
        with undisturbed(scene.model):
            met.update(shortened(scene.tail(layer), [scene.fix(LINEAR)]).kinds)
    assert met == {"unit", "norm", "join", "spread", "whole"}


@pytest.mark.parametrize("build", PLAIN)
@pytest.mark.parametrize("target", [LINEAR, CURVED])
def test_networks_that_have_no_short_way(build, target):
    scene = scene_of(build, n=1)
    tail, score = scene.tail("layer"), scene.fix(target)
    expected = brute(scene, "layer", target)
    with undisturbed(scene.model):
        assert shortened(tail, [score]) is None
        found, clean = falls(tail, [score], 1)
    assert torch.allclose(found[0], expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(clean[0], score(scene.logits))
    assert hooks(scene.model) == 0


def test_a_short_way_that_is_wrong_is_not_believed(monkeypatch):
    scene = scene_of(tails.Gate)
    expected = brute(scene, "layer", LINEAR)
    right = fall._Short.falls
    for wrong in (lambda s, u: 1.01 * right(s, u), lambda s, u: right(s, u) * torch.nan):
        monkeypatch.setattr(fall._Short, "falls", wrong)
        found, _ = falls(scene.tail("layer"), [scene.fix(LINEAR)], 8)
        assert torch.allclose(found[0], expected, rtol=1e-9, atol=1e-12)

    def fails(short, units):
        raise IndexError

    monkeypatch.setattr(fall._Short, "falls", fails)
    found, _ = falls(scene.tail("layer"), [scene.fix(LINEAR)], 8)
    assert torch.allclose(found[0], expected, rtol=1e-9, atol=1e-12)


def test_single_precision_keeps_small_falls():
    """The target is large beside what one unit does to it; differences of sums would be noise."""
    net = seeded(tails.Gate)
    net.head.weight.data *= 1e-3
    net.head.bias.data += torch.tensor([0.0, 3.0, 2.5])
    model, x = wrapped(net), images(1, 32, 48)
    scene, exact = Scene(model, x), Scene(wrapped(seeded(tails.Gate)).double(), x.double())
    exact.model.module.load_state_dict(net.state_dict())
    for target in (LINEAR, Target(1, Everything())):
        found, clean = falls(scene.tail("layer"), [scene.fix(target)], 8)
        expected = brute(exact, "layer", target)
        assert expected.abs().max() < 1e-3 * clean.abs().max()
        assert torch.allclose(found[0].double(), expected, atol=1e-2 * float(expected.abs().max()))


def test_where_the_affine_end_begins():
    scene = scene_of(tails.Gate)
    with undisturbed(scene.model):
        tape = folded_norms(record(scene.tail("layer")))
    before, end, cut = affine_end(tape)
    assert [step.name for step in end] == ["upsample_bilinear2d", "convolution"]
    assert before[-1].name == "mul" and cut == {before[-1].outputs[0]}
    assert not any("batch_norm" in step.name for step in tape.steps)


def test_skips_are_not_run_again():
    """What does not depend on the layer is not on the tape."""
    scene = scene_of(tails.UnitByUnit)
    with undisturbed(scene.model):
        tape = record(scene.tail("layer"))
    convolved = [step for step in tape.steps if step.name == "convolution"]
    assert len(convolved) == 2 and len(tape.steps) < 12


def test_scripted_parts():
    net = seeded(tails.Gate)
    net.value = torch.jit.script(net.value)
    scene = Scene(wrapped(net).double(), images(2, 32, 48).double())
    found, _ = falls(scene.tail("layer"), [scene.fix(CURVED)], 8)
    plain = scene_of(tails.Gate)
    expected = brute(plain, "layer", CURVED)
    assert torch.allclose(found[0], expected, rtol=1e-7, atol=1e-11)


def test_hooks_of_the_user_s_own_are_part_of_the_network():
    model = wrapped(seeded(tails.Gate)).double()
    model.module.value.register_forward_hook(lambda m, args, out: out * 2)
    scene = Scene(model, images(1, 32, 48).double())
    expected = brute(scene, "layer", LINEAR)
    found, _ = falls(scene.tail("layer"), [scene.fix(LINEAR)], 8)
    assert torch.allclose(found[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "layer", "end"),
    [
        ("lraspp_mobilenet_v3_large", "backbone.16", 4),
        ("deeplabv3_resnet50", "backbone.layer4", 2),
        ("fcn_resnet50", "backbone.layer4", 2),
    ],
)
def test_networks_of_torchvision(build, layer, end):
    segmentation = pytest.importorskip("torchvision.models.segmentation")
    make = getattr(segmentation, build)
    net = seeded(make, weights=None, weights_backbone=None, num_classes=3)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.fill_(0.3)
    scene = Scene(wrapped(net), images(1, 64, 96))
    score = scene.fix(Target(1, Everything(), "logit"))
    with undisturbed(scene.model), torch.no_grad():
        short = shortened(scene.tail(layer), [score])
        units = torch.arange(0, 60, 5)[None]
        found = short.falls(units)
        expected = fall._Plain(scene.tail(layer), [score], 8).falls(units)
    assert {"spread", "unit"} <= set(short.kinds)
    assert len(affine_end(short.tape)[1]) == end
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))

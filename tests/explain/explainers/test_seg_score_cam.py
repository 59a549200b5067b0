import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.config import Preprocessing
from conceptseg.explain.explainers.seg_score_cam import SegScoreCam
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.explain.explainers.peers import grad_cam_map
from tests.explain.explainers.planted import Split, linear_tail, red_finder, two_red_squares
from tests.small_models import UNet, images, seeded, unet, wrapped


def weights(explainer, scene, *targets):
    activation = scene.tail(explainer.layer).activation
    return explainer.weights_of(scene, activation, [scene.fix(target) for target in targets])


def scores_by_loops(module, x, layer, score, mean=0.0, std=1.0):
    """Each unit's score, and that of nothing, on images that the network itself has scaled."""
    seen = []
    handle = module.get_submodule(layer).register_forward_hook(lambda *args: seen.append(args[2]))
    normal = (x - mean) / std
    with torch.no_grad():
        module(normal)
        handle.remove()
        activation, found = seen[0].clone(), []
        for k in range(activation.shape[1]):
            wide = functional.interpolate(activation[:, k : k + 1], x.shape[2:], mode="bilinear")
            low, high = wide.min(), wide.max()
            seen_through = (wide - low) / (high - low) if high > low else wide * torch.nan
            found.append(score(module(normal * seen_through)))
        return torch.stack(found)[:, 0], score(module(torch.zeros_like(normal)))[0], activation[0]


@pytest.mark.parametrize("layer", ["mid", "enc1.conv1", "dec2"])
@pytest.mark.parametrize("kind", ["softmax", "increase"])
def test_loops_over_units(layer, kind):
    """The paper's algorithm, its masks multiplied onto the image after preprocessing."""
    module = seeded(UNet).double()
    settings = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    x, target = images(1).double(), Target(1, Box(2, 3, 9, 14))
    mean, std = (
        torch.tensor(v, dtype=x.dtype).view(3, 1, 1) for v in (settings.mean, settings.std)
    )
    model = SegmentationModel(module, ["a", "b", "c"], settings)
    scene = Scene(model, x)
    scores, nothing, activation = scores_by_loops(module, x, layer, scene.fix(target), mean, std)
    expected = scores.exp() if kind == "softmax" else (scores - nothing).clamp(min=0)
    expected = expected.nan_to_num(0) / expected.nansum()
    assert (expected > 0).sum() > 1
    explainer = SegScoreCam(layer=layer, weights=kind)
    assert torch.allclose(weights(explainer, scene, target)[0, 0], expected, atol=1e-9)
    maps = torch.einsum("u,uyx->yx", expected, activation)
    assert torch.allclose(explainer.on_grid(scene, target)[0], maps.relu(), atol=1e-9)
    signed = SegScoreCam(layer=layer, weights=kind, relu=False)
    assert torch.allclose(signed.on_grid(scene, target)[0], maps, atol=1e-9)


@pytest.mark.slow
def test_pytorch_grad_cam():
    """At a layer of the image's size; elsewhere the peer resizes with corners aligned.

    The peer gives a dead unit the black image's share of the softmax, a factor of the whole map.
    """
    model, x, target = unet(), images(2), Target(1, Everything(), "logit", "sum")
    expected = grad_cam_map("ScoreCAM", model, "dec1", x, target)
    found = SegScoreCam(layer="dec1", relu=False)(model, x, target)
    spread = weights(SegScoreCam(layer="dec1"), Scene(model, x), target)[0]
    assert spread.max() > 2 * spread[spread > 0].min()
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one / one.max(), other / other.max(), atol=1e-5)


def test_a_unit_that_keeps_what_the_network_reads():
    """Unit 0's mask is 1 on red and 0 elsewhere, so it keeps the score, and no other unit any."""
    model, x = red_finder(), two_red_squares()
    target = Target(1, Predicted(1))
    scene = Scene(model, x)
    found = weights(SegScoreCam(layer="encoder", weights="increase"), scene, target)
    assert torch.equal(found[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    maps = SegScoreCam(layer="encoder", weights="increase")(model, x, target)[0]
    assert torch.equal(maps > 0, scene.logits.argmax(1)[0] == 1)
    clean, nothing = scene.fix(target)(scene.logits), scene.fix(target)(model(torch.zeros_like(x)))
    odds = torch.stack([clean, nothing, nothing]).exp()[:, 0]
    softmax = weights(SegScoreCam(layer="encoder"), scene, target)[0, 0]
    assert torch.allclose(softmax, odds / odds.sum(), atol=1e-6)


def test_no_unit_raises_the_score():
    """Class 0 is what is not red: without the red it only gains, so its own score never rises."""
    model, x = red_finder(), two_red_squares()
    found = SegScoreCam(layer="encoder", weights="increase")(model, x, Target(0, Predicted(0)))
    assert found.abs().max() == 0


def test_permuted_units_have_permuted_weights():
    model, x, order = linear_tail(units=5), images(2), torch.tensor([3, 0, 4, 2, 1])
    target, explainer = Target(1, Everything()), SegScoreCam(layer="encoder")
    expected = weights(explainer, Scene(model, x), target)[0]
    first, last = model.module.encoder[0], model.module.tail
    first.weight.data, first.bias.data = first.weight.data[order], first.bias.data[order]
    last.weight.data = last.weight.data[:, order]
    found = weights(explainer, Scene(model, x), target)[0]
    assert torch.allclose(found, expected[:, order], atol=1e-6)


def dead_units():
    """Of five units the second is dead, and the fourth lives on images with some dark pixel."""
    model = linear_tail(units=5)
    first = model.module.encoder[0]
    with torch.no_grad():
        first.weight[1] = 0
        first.weight[3] = -1
        first.bias[3] = 0.5
    return model


def test_constant_units_cost_nothing_and_weigh_nothing():
    model, x = dead_units(), images(2).clamp(min=0.2)
    x[0, :, 4:9, 4:9] = 0
    scene = Scene(model, x)
    target = Target(1, Everything())
    found = weights(SegScoreCam(layer="encoder"), scene, target)[0]
    assert scene.tail("encoder").activation[1, 3].max() == 0
    assert torch.equal(found > 0, torch.tensor([[1, 0, 1, 1, 1], [1, 0, 1, 0, 1]]).bool())
    assert torch.allclose(found.sum(1), torch.ones(2))
    assert scene.passes == {"forward": 2 + 2 * 4}


@pytest.mark.parametrize("kind", ["softmax", "increase"])
def test_nothing_but_constant_units(kind):
    model = linear_tail()
    model.module.encoder[0].weight.data.zero_()
    found = SegScoreCam(layer="encoder", weights=kind)(model, images(1), Target(1, Everything()))
    assert found.abs().max() == 0


def test_the_most_energetic_units_alone():
    model, x, target = unet(), images(2), Target(1, Everything())
    scene = Scene(model, x)
    full = weights(SegScoreCam(layer="mid"), scene, target)[0]
    before = scene.passes["forward"]
    few = weights(SegScoreCam(layer="mid", channels=3), scene, target)[0]
    assert scene.passes["forward"] == before + 2 * 3
    energy = scene.tail("mid").activation.square().sum((2, 3))
    for i in range(2):
        chosen = energy[i].topk(3).indices
        assert set(few[i].nonzero().flatten().tolist()) == set(chosen.tolist())
        assert torch.allclose(few[i, chosen], full[i, chosen] / full[i, chosen].sum(), atol=1e-5)
    every = weights(SegScoreCam(layer="mid", channels=99), scene, target)[0]
    assert torch.equal(every, full)


def test_masked_images_are_streamed_and_serve_all_targets():
    model, x = unet(), images(2)
    sizes = []
    model.module.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    scene = Scene(model, x, batch_size=4)
    targets = [Target(c, Everything()) for c in range(3)]
    together = weights(SegScoreCam(layer="mid"), scene, *targets)
    live = int((scene.tail("mid").activation.std((2, 3)) > 0).sum(1).max())
    assert sum(sizes) == 2 + 2 * live and max(sizes) == 4
    for target, found in zip(targets, together, strict=True):
        alone = weights(SegScoreCam(layer="mid"), Scene(model, x), target)[0]
        assert torch.allclose(found, alone, atol=1e-6)


def test_a_sum_over_many_pixels_leaves_one_unit():
    """The known fault of the softmax, which the share of the increase does not have."""
    model, x = unet(), images(1, 64, 64)
    scene = Scene(model, x)
    total = Target(1, Everything(), "logit", "sum")
    saturated = weights(SegScoreCam(layer="mid"), scene, total)
    assert saturated.max() > 0.95
    shares = SegScoreCam(layer="mid", weights="increase")
    mean = weights(shares, scene, Target(1, Everything(), "logit"))
    assert torch.allclose(weights(shares, scene, total), mean, atol=1e-4)
    assert mean.max() < 0.5


def test_the_fill_is_what_silent_units_show():
    """A network that reads brightness: a lighter fill gives higher scores to silent units."""
    module = Split(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    module.encoder.weight.data = torch.tensor([[1.0, 1, 1], [-1, -1, -1]]).view(2, 3, 1, 1)
    module.encoder.bias.data.zero_()
    module.tail.weight.data = torch.tensor([[0.0, 0], [1, 0]]).view(2, 2, 1, 1)
    module.tail.bias.data.zero_()
    model, x = wrapped(module, 2), images(1)
    target = Target(1, Everything(), "logit")
    scene = Scene(model, x)
    ramp = scene.tail("encoder").activation[0, 0]
    up = (ramp - ramp.min()) / (ramp.max() - ramp.min())
    for kind, value in (("black", 0.0), ("grey", 0.5)):
        found = weights(SegScoreCam(layer="encoder", fill=kind), scene, target)[0, 0]
        scores = [(value + mask * (x[0] - value)).sum(0).mean() for mask in (up, 1 - up)]
        assert torch.allclose(found, torch.stack(scores).softmax(0), atol=1e-5)

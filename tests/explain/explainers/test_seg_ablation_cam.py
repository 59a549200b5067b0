import copy

import pytest
import torch
from torch import nn

from conceptseg.explain.ablation import fall
from conceptseg.explain.explainers.seg_ablation_cam import SegAblationCam
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import undisturbed
from tests.explain.explainers.planted import (
    linear_tail,
    piecewise_linear_tail,
    red_finder,
    two_red_squares,
)
from tests.small_models import Count, Tokens, images, seeded, unet, wrapped

PAPER = {"score": "logit", "reduce": "sum"}


@pytest.fixture
def plain_only(monkeypatch):
    monkeypatch.setattr(fall, "shortened", lambda tail, scores: None)


def by_hooks(model, x, layer, target, divide):
    """The paper's equation by loops, with whole passes of the network and nothing of ours."""
    module, maps = model.module.get_submodule(layer), []
    with torch.no_grad():
        for i in range(len(x)):
            seen = []
            handle = module.register_forward_hook(lambda m, a, out, s=seen: s.append(out))
            logits = model(x[i : i + 1])
            handle.remove()
            score = target.on(logits)
            whole, found = score(logits), torch.zeros_like(seen[0][0, 0])
            for k in range(seen[0].shape[1]):

                def without(m, a, out, k=k):
                    out = out.clone()
                    out[:, k] = 0
                    return out

                handle = module.register_forward_hook(without)
                lost = whole - score(model(x[i : i + 1]))
                handle.remove()
                found += (lost / divide(whole) * seen[0][:, k])[0]
            maps.append(found)
    return torch.stack(maps)


@pytest.mark.parametrize(
    "target", [Target(1), Target(2, Everything(), **PAPER), Target(0, Box(2, 3, 9, 14), "logprob")]
)
@pytest.mark.parametrize("layer", ["mid", "enc2", "up2", "dec1.conv1"])
def test_loops_over_units(target, layer):
    model, x = unet().double(), images(2).double()
    expected = by_hooks(model, x, layer, target, torch.abs)
    explainer = SegAblationCam(layer=layer, relu=False)
    found = explainer.on_grid(Scene(model, x), target)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-11)
    rectified = explainer.model_copy(update={"relu": True}).on_grid(Scene(model, x), target)
    assert torch.equal(rectified, found.relu())


def test_loops_over_units_by_the_plain_way(plain_only):
    model, x = unet().double(), images(2).double()
    expected = by_hooks(model, x, "mid", Target(1), torch.abs)
    scene = Scene(model, x, batch_size=6)
    found = SegAblationCam(layer="mid", relu=False).on_grid(scene, Target(1))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_closed_form_of_a_linear_tail():
    """T - T_k is the sum over the region of w_ck A_k: the gradient times the activation."""
    model, x = linear_tail(), images(2)
    target = Target(1, **PAPER)
    scene = Scene(model, x)
    activation = scene.tail("encoder").activation.detach()
    score, weight = scene.fix(target), model.module.tail.weight[1, :, 0, 0].detach()
    lost = torch.einsum("nuyx,nyx,u->nu", activation, score.mask.float(), weight)
    expected = torch.einsum("nu,nuyx->nyx", lost / score(scene.logits)[:, None], activation)
    found = SegAblationCam(layer="encoder", relu=False)(model, x, target)
    assert not score.empty.any() and score(scene.logits).min() > 0
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_what_a_fall_is_divided_by():
    model, x = unet(), images(1)
    lost = SegAblationCam(layer="mid", relu=False, divide_by="none")
    scene = Scene(model, x)
    signs = set()
    for c in range(3):
        target = Target(c, Everything(), "logit")
        whole = float(scene.fix(target)(scene.logits))
        signs.add(whole > 0)
        undivided = lost.on_grid(scene, target)
        for by, size in (("magnitude", abs(whole)), ("score", whole)):
            explainer = lost.model_copy(update={"divide_by": by})
            assert torch.allclose(explainer.on_grid(scene, target), undivided / size, rtol=1e-5)
    assert signs == {True, False}


def test_a_target_of_zero_gives_a_finite_map():
    model, x = linear_tail(), images(1)
    with torch.no_grad():
        model.module.tail.bias[1] -= Target(1, Everything(), "logit").on(model(x))(model(x))[0]
    found = SegAblationCam(layer="encoder")(model, x, Target(1, Everything(), "logit"))
    assert found.isfinite().all() and found.max() > 0


def test_units_that_make_no_difference():
    """One that is 0 everywhere, and one that is not, but that nothing reads."""
    model, x = unet().double(), images(2).double()
    mid = model.module.mid
    with torch.no_grad():
        mid.bn2.weight[3], mid.bn2.bias[3] = 0, -1
        mid.short.weight[3], mid.short.bias[3] = 0, 0
        model.module.up2.weight[5] = 0
    scene = Scene(model, x)
    tail, score = scene.tail("mid"), scene.fix(Target(1, Everything()))
    with undisturbed(model):
        found, _ = fall.falls(tail, [score], 8)
    assert tail.activation[:, 3].abs().max() == 0 and tail.activation[:, 5].max() > 0
    assert found[:, :, 3].abs().max() == 0
    assert found[:, :, 5].abs().max() < 1e-12 * found.abs().max()


def test_a_unit_of_one_image_only():
    """Units are skipped image by image, and others run in their place."""
    model, x = red_finder(), torch.cat([two_red_squares(), torch.full((1, 3, 16, 24), 0.4)])
    together = SegAblationCam(layer="encoder", relu=False)(model, x, Target(1, Everything()))
    for i in range(2):
        one = SegAblationCam(layer="encoder", relu=False)(
            model, x[i : i + 1], Target(1, Everything())
        )
        assert torch.allclose(together[i], one[0], rtol=1e-4, atol=1e-6)
    assert together[0].abs().max() > 0


def test_it_finds_what_is_red():
    """Without the unit of red no red is found; that of blue says nothing on the red squares."""
    model, x = red_finder(), two_red_squares()
    found = SegAblationCam(layer="encoder")(model, x, Target(1, Predicted(1), "logit"))[0]
    inside = torch.zeros(16, 24, dtype=torch.bool)
    inside[4:10, 2:6] = inside[4:10, 16:20] = True
    assert found[inside].min() > 0 and found[~inside].abs().max() == 0


def test_the_other_library():
    """Where it ablates by 0, which is where the layer's smallest activation is 0."""
    peer = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    model, x = piecewise_linear_tail(), images(2)
    target = Target(2, Everything(), **PAPER)
    scene = Scene(model, x)
    activation = scene.tail("encoder").activation.detach()
    assert activation.min() == 0
    masks = scene.fix(target).mask.numpy().astype("float32")
    cam = peer.AblationCAM(copy.deepcopy(model), [], batch_size=5)
    cam.model.eval()
    given = [SemanticSegmentationTarget(2, mask) for mask in masks]
    layer = cam.model.module.encoder
    weights = cam.get_cam_weights(x, layer, given, activation.numpy(), None)
    expected = torch.einsum("nu,nuyx->nyx", torch.from_numpy(weights), activation)
    found = SegAblationCam(layer="encoder", relu=False, divide_by="score").on_grid(scene, target)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_all_targets_come_from_the_same_passes(plain_only):
    model, x = unet(), images(2)
    scene = Scene(model, x)
    targets = [Target(0, Everything()), Target(1, Everything(), **PAPER), Target(2)]
    SegAblationCam(layer="mid").on(scene, targets)
    units = int((scene.tail("mid").activation != 0).flatten(2).any(2).sum(1).max())
    rows = 4 * -(-units // 4) * 2
    assert scene.passes == {"forward": 2, "tail": rows}


@pytest.mark.parametrize("size", [1, 5, 8])
def test_no_more_rows_at_once_than_asked_for(plain_only, size):
    model, x = unet(), images(2)
    rows, count = [], Count(model)
    model.module.head.register_forward_pre_hook(lambda m, args: rows.append(args[0].shape[0]))
    SegAblationCam(layer="mid").on(Scene(model, x, batch_size=size), [Target(1)])
    assert max(rows) == max(2, size // 2 * 2)
    assert count.runs["enc1"] == count.runs["head"]


def test_a_layer_with_class_tokens():
    model = wrapped(seeded(Tokens, extra=2)).double()
    x = images(2, 32, 48).double()
    scene, target = Scene(model, x), Target(1, Everything())
    tail, score = scene.tail("blocks.0"), scene.fix(target)
    activation, whole = tail.activation.detach(), score(tail.logits.detach())
    expected = torch.zeros_like(activation[:, 0])
    with torch.no_grad():
        for k in range(activation.shape[1]):
            without = activation.clone()
            without[:, k] = 0
            fall = (whole - score(tail.resume(without))) / whole.abs()
            expected += fall[:, None, None] * activation[:, k]
    found = SegAblationCam(layer="blocks.0", relu=False).on_grid(scene, target)
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_it_needs_no_way_for_gradients():
    """A score that only counts: no gradient method could explain it."""

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

        def forward(self, images):
            return (self.head(self.body(images)) * 4).round() / 4

    model, x = wrapped(seeded(Steps), 2), images(1)
    expected = by_hooks(model, x, "body", Target(1, Everything()), torch.abs)
    found = SegAblationCam(layer="body", relu=False)(model, x, Target(1, Everything()))
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_it_is_tried_by_one_unit():
    """As many passes for a layer of a thousand units as for one of ten."""
    net = nn.Sequential(nn.Conv2d(1, 12, 3, 1, 1), nn.ReLU(), nn.Conv2d(12, 2, 1))
    model = wrapped(net, 2, 1)
    whole, tried = (Scene(model, torch.rand(1, 1, 16, 16), batch_size=1) for _ in range(2))
    method = SegAblationCam(layer="1")
    method.on(whole, [Target(1)])
    assert method.reduced(tried).on(tried, [Target(1)]).shape == (1, 1, 16, 16)
    assert sum(tried.passes.values()) < sum(whole.passes.values())
    assert method._units is None

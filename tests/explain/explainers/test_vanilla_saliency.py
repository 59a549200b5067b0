import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.regions import Box, Everything, Pixel, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import images, seeded, unet, wrapped

LOGIT = {"score": "logit", "reduce": "sum"}


def linear(kernel: int = 3):
    return wrapped(seeded(lambda: nn.Conv2d(3, 2, kernel, padding=kernel // 2)), 2)


@pytest.mark.parametrize("reduce", ["max_abs", "sum_abs", "sum"])
def test_a_linear_network_gives_its_weights(reduce):
    """Of a convolution, by loops over the region's pixels and what each of them reads."""
    model, x = linear(), images(1, 7, 9)
    weight = model.module.weight.detach()[1]
    gradient = torch.zeros(3, 7, 9)
    for y in range(2, 6):
        for z in range(0, 4):
            for dy in range(3):
                for dz in range(3):
                    at = (y + dy - 1, z + dz - 1)
                    if 0 <= at[0] < 7 and 0 <= at[1] < 9:
                        gradient[:, at[0], at[1]] += weight[:, dy, dz]
    expected = {
        "max_abs": gradient.abs().max(0).values,
        "sum_abs": gradient.abs().sum(0),
        "sum": gradient.sum(0),
    }[reduce]
    found = VanillaSaliency(reduce=reduce)(model, x, Target(1, Box(2, 0, 6, 4), **LOGIT))
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_a_pixel_s_map_is_the_kernel():
    model, x = linear(5), images(1, 9, 9)
    found = VanillaSaliency(reduce="sum")(model, x, Target(0, Pixel(4, 4), score="logit"))
    expected = torch.zeros(9, 9)
    expected[2:7, 2:7] = model.module.weight.detach()[0].sum(0)
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_finite_differences():
    """The signed map says what a change of all channels does, in any direction."""
    model, x = unet().double(), images(2).double()
    target = Target(2, Box(3, 2, 12, 20))
    scene = Scene(model, x)
    score, found = scene.fix(target), VanillaSaliency(reduce="sum").on(scene, [target])[0]
    draws = torch.Generator().manual_seed(0)
    for _ in range(5):
        way = torch.randn(1, 1, *scene.size, generator=draws, dtype=torch.float64)
        sides = [score(scene.forward(x + step * way)) for step in (1e-6, -1e-6)]
        slope = (sides[0] - sides[1]) / 2e-6
        assert torch.allclose((found * way[:, 0]).sum((1, 2)), slope, rtol=1e-4, atol=1e-6)


def test_captum():
    captum = pytest.importorskip("captum.attr")
    model, x = unet(), images(2)
    with torch.no_grad():
        score = Target(1).on(model(x))
    peer = captum.Saliency(lambda batch: score(model(batch)))
    expected = peer.attribute(x.clone().requires_grad_()).amax(1)
    found = VanillaSaliency()(model, x, Target(1))
    assert expected.max() > 0
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.max()))


def test_targets_share_a_graph():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    VanillaSaliency().on(scene, [Target(c, Everything()) for c in range(3)])
    assert scene.passes == {"forward": 2, "backward": 6}
    VanillaSaliency().on(scene, [Target(0)])
    assert scene.passes == {"forward": 4, "backward": 8}


def test_memory_is_bounded():
    model, x = unet(), images(5)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[0]))
    VanillaSaliency().on(Scene(model, x, batch_size=2), [Target(1)])
    assert seen == [2, 2, 1, 2, 2, 1]


def test_what_lies_out_of_reach_gets_nothing():
    """Each pixel of a 3 x 3 convolution sees one pixel around itself."""
    found = VanillaSaliency()(linear(), images(1), Target(1, Predicted(1) & Box(0, 0, 8, 8)))[0]
    assert found[:8, :8].max() > 0
    assert found[9:].max() == 0 and found[:, 9:].max() == 0

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from conceptseg.explain.explainers._masking import reader
from conceptseg.explain.explainers.occlusion import Occlusion
from conceptseg.explain.fill import filling
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.games import SCORE, additive, ones, weights
from tests.explain.explainers.planted import linear_tail, red_finder, two_red_squares
from tests.small_models import images, unet


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (7, 3), (5, 5), (30, 30), (4, 1)])
@pytest.mark.parametrize(("net", "size"), [(unet, (16, 24)), (linear_tail, (13, 9))])
def test_captum(window, stride, net, size):
    captum = pytest.importorskip("captum.attr")
    window = min(window, *size)  # captum takes no window beyond the image
    stride = min(stride, window)
    model, x = net(), images(2, *size)
    target = Target(1, Everything(), score="probability")
    with torch.no_grad():
        fixed = target.on(model(x))

    class Score(nn.Module):
        @torch.no_grad()
        def forward(self, x):
            return fixed(model(x))

    expected = captum.Occlusion(Score()).attribute(
        x,
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=filling(model, x, "mean"),
    )
    found = Occlusion(window=window, stride=stride, measure="score")(model, x, target)
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected[:, 0], atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("measure", ["score", "dice", "iou", "softdice"])
def test_loops_over_windows(measure):
    model, x = linear_tail().double(), images(2, 14, 19).double()
    scene = Scene(model, x)
    targets = [Target(0), Target(2, Predicted(2) & Box(0, 0, 14, 12))]
    read = reader(scene, targets, measure)
    total, cover = torch.zeros(2, 2, 14, 19).double(), torch.zeros(14, 19)
    for top in range(0, 14, 4):
        for left in range(0, 19, 4):
            if top + 2 >= 14 or left + 2 >= 19:
                continue  # the window before already reaches the frame
            hidden = x.clone()
            hidden[:, :, top : top + 6, left : left + 6] = 0.5
            with torch.no_grad():
                drop = read(model(x)) - read(model(hidden))
            total[:, :, top : top + 6, left : left + 6] += drop[..., None, None]
            cover[top : top + 6, left : left + 6] += 1
    assert cover.min() > 0
    explainer = Occlusion(window=6, stride=4, fill="grey", measure=measure)
    found = explainer.attribute(scene, targets)
    assert found.abs().amax((1, 2, 3)).min() > 0
    assert torch.allclose(found, total / cover, atol=1e-12)


def test_windows_of_an_additive_score_sum_to_it():
    """Where windows tile the image, a window's drop is the sum of what it holds."""
    w = weights(9, 11)
    explainer = Occlusion(window=4, stride=4, fill="black", measure="score")
    found = explainer.attribute(Scene(additive(w), ones(9, 11)), [SCORE])[0, 0]
    total = 0.0
    for top in range(0, 9, 4):
        for left in range(0, 11, 4):
            expected = w[top : top + 4, left : left + 4].sum()
            tile = found[top : top + 4, left : left + 4]
            assert torch.allclose(tile, expected.expand_as(tile), atol=1e-12)
            total += expected
    assert total.item() == pytest.approx(w.sum().item())


@pytest.mark.parametrize("measure", ["score", "dice", "softdice"])
def test_a_window_over_all_is_the_drop_to_nothing(measure):
    model, x = unet().double(), images(2).double()
    scene, target = Scene(model, x), Target(1)
    read = reader(scene, [target], measure)
    drop = read(model(x)) - read(model(filling(model, x, "blur")))
    found = Occlusion(window=99, stride=3, fill="blur", measure=measure).attribute(scene, [target])
    assert torch.allclose(found, drop.detach()[..., None, None].expand_as(found), atol=1e-12)
    assert scene.passes == {"forward": 4}


def test_dice_drops_by_the_share_of_the_object():
    """Two red squares of 24 pixels: hiding one leaves Dice 2 24 / (24 + 48) = 2/3."""
    model, x = red_finder(), two_red_squares()
    found = Occlusion(window=4, stride=4, fill="grey", measure="dice")(model, x, Target(1))[0]
    assert found[4:8, 0:4].unique().tolist() == pytest.approx([1 - 2 * 40 / 88])  # 8 px of 48
    assert found[:, 8:16].abs().max() == 0
    whole = Occlusion(window=12, stride=12, fill="grey", measure="dice")(model, x, Target(1))[0]
    assert whole[0, 0].item() == pytest.approx(1 / 3)


def test_all_targets_from_the_same_passes():
    scene = Scene(unet(), images(2))
    targets = [Target(c, Everything()) for c in range(3)]
    Occlusion(window=8, stride=4).on(scene, targets)
    assert scene.passes == {"forward": 2 + 2 * 3 * 5}


def test_gaps_are_refused():
    with pytest.raises(ValidationError, match="leaves pixels that no window covers"):
        Occlusion(window=8, stride=9)

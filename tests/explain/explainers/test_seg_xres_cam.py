from math import ceil

import numpy as np
import pytest
import torch

from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.explainers.seg_xres_cam import SegXresCam
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.planted import red_finder, two_red_squares
from tests.small_models import images, unet

LOGIT = {"score": "logit", "reduce": "sum"}


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6, 9])
def test_loops_over_windows(pool, window):
    """Windows from the upper left corner, those at the edge with what is left of them."""
    gradient = images(2, 5, 8, seed=2) - 0.5
    expected = torch.empty_like(gradient)
    for i, j in np.ndindex(ceil(5 / window), ceil(8 / window)):
        rows = slice(i * window, (i + 1) * window)
        columns = slice(j * window, (j + 1) * window)
        values = gradient[:, :, rows, columns].flatten(2)
        one = values.mean(2) if pool == "mean" else values.max(2).values
        expected[:, :, rows, columns] = one[:, :, None, None]
    explainer = SegXresCam(window=window, pool=pool)
    assert torch.allclose(explainer.pooled(gradient), expected, atol=1e-6)
    activation = images(2, 5, 8)
    found = explainer.weigh(activation, gradient)
    assert torch.allclose(found, (expected * activation).sum(1), atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_windows_of_one_position_are_seg_hires_grad_cam(pool):
    model, x = unet(), images(2)
    found = SegXresCam(layer="mid", window=1, pool=pool)(model, x, Target(1))
    assert found.max() > 0
    assert torch.equal(found, SegHiresGradCam(layer="mid")(model, x, Target(1)))


@pytest.mark.parametrize("window", [6, 100])
def test_one_window_is_seg_grad_cam(window):
    scene = Scene(unet().double(), images(2).double())
    found = SegXresCam(layer="mid", window=window, relu=False).on_grid(scene, Target(1))
    expected = SegGradCam(layer="mid", relu=False).on_grid(scene, Target(1))
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("pool", "reduction"), [("mean", np.mean), ("max", np.max)])
def test_scikit_image(pool, reduction):
    """The authors' recipe, where the windows fit: pool blocks, then resize to the nearest."""
    measure = pytest.importorskip("skimage.measure")
    from skimage.transform import resize

    model, x = unet(), images(1)
    scene, target = Scene(model, x), Target(1, Everything(), **LOGIT)
    activation = scene.tail("mid", graph=True).activation.detach()[0].numpy()
    gradient = scene.gradient("mid", scene.fix(target))[0].numpy()
    assert gradient.shape[1:] == (4, 6)
    small = measure.block_reduce(gradient, (1, 2, 2), reduction)
    large = resize(small.transpose(1, 2, 0), (4, 6), order=0).transpose(2, 0, 1)
    expected = torch.from_numpy((large * activation).sum(0))
    found = SegXresCam(layer="mid", pool=pool, relu=False).on_grid(scene, target)[0]
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.abs().max()))


def test_pooling_by_the_mean_moves_nothing_between_windows():
    """Where activations are constant within windows, the map's sum is Seg-HiRes-Grad-CAM's."""
    gradient = images(1, 6, 8, seed=2) - 0.5
    activation = images(1, 3, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = SegXresCam().weigh(activation, gradient).sum()
    assert found.item() == pytest.approx((activation * gradient).sum().item(), rel=1e-4)


@pytest.mark.parametrize(("window", "share"), [(1, 0.0), (2, 0.0), (4, 0.0), (24, 0.5)])
def test_how_far_like_features_light_up(window, share):
    """Of two red squares, the left one is asked for; the window says when the right one shows."""
    target = Target(1, Predicted(1) & Box(0, 0, 16, 10))
    found = SegXresCam(layer="encoder", window=window)(red_finder(), two_red_squares(), target)[0]
    asked, other = found[:, :10].sum(), found[:, 10:].sum()
    assert asked > 0
    assert (other / (asked + other)).item() == pytest.approx(share)

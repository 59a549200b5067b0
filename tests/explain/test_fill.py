import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from conceptseg.config import Preprocessing
from conceptseg.explain.fill import BLUR_FRACTION, filling, from_around
from conceptseg.network.model import SegmentationModel
from conceptseg.network.preprocess import prepare
from tests.small_models import UNet, images, seeded, unet

KINDS = ("mean", "blur", "black", "grey", "neutral")


def prepared(preprocessing, channels=3):
    module = seeded(UNet, 3, channels=channels)
    return SegmentationModel(module, ["a", "b", "c"], preprocessing, name="small")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_shape_type_and_batch(kind, channels):
    model, x = unet(), images(3, 12, 20, channels).double()
    kept = x.clone()
    found = filling(model, x, kind)
    assert found.shape == x.shape and found.dtype == torch.float64
    assert found.min() >= 0 and found.max() <= 1
    ones = torch.cat([filling(model, x[i : i + 1], kind) for i in range(3)])
    assert torch.allclose(found, ones, atol=1e-12)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("kind", ["mean", "blur"])
def test_one_colour_stays(kind):
    x = torch.tensor([0.1, 0.5, 0.9])[None, :, None, None].expand(2, 3, 16, 24)
    assert torch.allclose(filling(unet(), x, kind), x)


def test_mean_is_each_image_s_own():
    x = images(2, 12, 20)
    found = filling(unet(), x, "mean").numpy()
    for i, c, y, at in np.ndindex(2, 3, 12, 20):
        assert found[i, c, y, at] == pytest.approx(np.mean(x[i, c].numpy()), rel=1e-5)


def test_black_and_grey():
    x = images(2, 12, 20)
    assert (filling(unet(), x, "black") == 0).all()
    assert (filling(unet(), x, "grey") == 0.5).all()


def by_scipy(x, radius_in_sigmas=3):
    sigma = BLUR_FRACTION * np.hypot(*x.shape[2:])
    found = np.empty(x.shape)
    for i, c in np.ndindex(x.shape[0], x.shape[1]):
        one = x[i, c].double().numpy()
        found[i, c] = gaussian_filter(one, sigma, mode="mirror", truncate=radius_in_sigmas)
    return torch.from_numpy(found)


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (60, 60), (31, 47), (8, 9)])
def test_blur_is_a_gaussian(size):
    x = images(2, *size)
    found = filling(unet(), x, "blur")
    assert torch.allclose(found.double(), by_scipy(x), atol=1e-6)
    assert torch.allclose(filling(unet(), x.double(), "blur"), by_scipy(x), atol=1e-8)


def test_blur_s_tails_are_small():
    """The kernel ends after three standard deviations, which leaves out 0.3 % of its weight."""
    x = images(2, 48, 64)
    assert (filling(unet(), x, "blur").double() - by_scipy(x, 8)).abs().max() < 0.01


@pytest.mark.parametrize("size", [(4, 100), (1, 40)])
def test_blur_of_narrow_images(size):
    x = images(1, *size)
    assert torch.allclose(filling(unet(), x, "blur").double(), by_scipy(x), atol=1e-6)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Preprocessing(mean=(0.4,), std=(0.2,)),
        Preprocessing(range=(0, 255), mean=(123.7, 116.3, 103.5)),
        Preprocessing(range=(-1, 1), mean=(0.0, 0.1, -0.3)),
        Preprocessing(range=(255, 0), mean=(123.7, 116.3, 103.5)),
        Preprocessing(range=(-1, 1)),
    ],
)
def test_neutral_is_what_the_network_sees_as_zero(preprocessing):
    x = images(2, 12, 20)
    found = filling(prepared(preprocessing), x, "neutral")
    assert prepare(found, preprocessing).abs().max() < 1e-4


def test_neutral_in_the_channels_that_are_picked():
    """Blue, green, red of four; the fourth, which the network never sees, is black."""
    preprocessing = Preprocessing(channels=(2, 1, 0), mean=(0.4, 0.45, 0.5), std=(0.2, 0.3, 0.4))
    found = filling(prepared(preprocessing), images(1, 12, 20, 4), "neutral")
    assert found[0, :, 3, 7].tolist() == pytest.approx([0.5, 0.45, 0.4, 0.0])
    assert prepare(found, preprocessing).abs().max() < 1e-6


def test_neutral_stays_a_colour():
    """Where the mean is no value that an image can have, the nearest that it can."""
    found = filling(prepared(Preprocessing(mean=(-0.2, 0.5, 1.3))), images(1, 4, 4), "neutral")
    assert found[0, :, 0, 0].tolist() == [0, 0.5, 1]


def test_a_hole_is_filled_by_what_lies_around_and_nothing_else_changes():
    x = torch.zeros(1, 1, 40, 40)
    x[..., 20:] = 0.8
    x[..., 10:30, 10:14] = 1.0  # an object on the dark half
    hole = torch.zeros(40, 40, dtype=torch.bool)
    hole[10:30, 10:14] = True
    found = from_around(x, hole)
    assert torch.equal(found[0, 0][~hole], x[0, 0][~hole])
    assert found[0, 0][hole].max() < 0.05  # the bright half is too far
    whole = torch.ones(40, 40, dtype=torch.bool)
    assert torch.allclose(from_around(x, whole), x.mean().expand_as(x))

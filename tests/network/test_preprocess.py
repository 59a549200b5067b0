"""Preprocessing against arithmetic by hand and against Pillow's resize."""

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.config import Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.preprocess import check_preprocessing, input_size, prepare


def test_arithmetic_by_hand():
    image = torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1)
    given = Preprocessing(range=(0, 255), mean=(10, 20, 30), std=(2, 4, 5))
    # 0 -> (0 - 10) / 2; 0.2 -> (51 - 20) / 4; 1 -> (255 - 30) / 5
    torch.testing.assert_close(prepare(image, given).flatten(), torch.tensor([-5.0, 7.75, 45.0]))


def test_range_may_be_signed():
    image = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    found = prepare(image, Preprocessing(range=(-1, 1)))
    torch.testing.assert_close(found.flatten(), torch.tensor([-1.0, -0.5, 1.0]))


def test_mean_is_in_the_networks_order_of_channels():
    image = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    found = prepare(image, Preprocessing(channels=(2, 1, 0), mean=(0.3, 0.1, 0.0)))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.1, 0.1]))


def test_one_grey_channel_can_feed_three():
    image = torch.full((1, 1, 2, 2), 0.4)
    found = prepare(image, Preprocessing(channels=(0, 0, 0), mean=(0.1, 0.2, 0.3)))
    expected = torch.tensor([0.3, 0.2, 0.1])
    torch.testing.assert_close(found[0, :, 1, 1], expected)


def test_one_value_serves_all_channels():
    found = prepare(torch.ones(1, 3, 1, 1), Preprocessing(mean=(0.5,), std=(0.25,)))
    assert found.flatten().tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("size", [(5, 7), (24, 40)])
def test_resize_is_pillows(size):
    values = np.random.default_rng(0).random((13, 17), dtype=np.float32)
    height, width = size
    expected = np.asarray(
        Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
    )
    found = prepare(torch.from_numpy(values)[None, None], Preprocessing(size=size))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "size", "multiple", "expected"),
    [
        ((100, 70), None, 32, (96, 64)),
        ((100, 80), None, 32, (96, 96)),  # 80 is halfway, up
        ((3, 32), None, 32, (32, 32)),
        ((100, 70), (50, 60), 1, (50, 60)),
        ((100, 70), (50, 60), 16, (48, 64)),
    ],
)
def test_sides(image, size, multiple, expected):
    given = Preprocessing(size=size, multiple=multiple)
    assert input_size(image, given) == expected
    assert tuple(prepare(torch.zeros(1, 1, *image), given).shape[2:]) == expected


def test_keeps_memory_format_and_leaves_the_image_alone():
    image = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    before = image.clone()
    found = prepare(image, Preprocessing(channels=(2, 1, 0), mean=(0.5,)))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, before)


def test_gradient_reaches_the_image():
    image = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    given = Preprocessing(channels=(1, 0), range=(0, 255), mean=(3, 4), std=(5, 6), size=(4, 8))
    assert torch.autograd.gradcheck(lambda x: prepare(x, given), image)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"range": (1, 1)}, "range"),
        ({"std": (0.0, 1.0)}, "std"),
        ({"size": (0, 4)}, "size"),
        ({"size": (64, 900_000)}, "size"),
        ({"multiple": 10**6}, "multiple"),
        ({"channels": (0, -1)}, "channels"),
        ({"mean": (1, 2, 3), "std": (1, 2)}, "mean has 3, std has 2"),
        ({"channels": (0, 1), "mean": (1, 2, 3)}, "channels has 2"),
    ],
)
def test_refused(given, named):
    with pytest.raises(InputError, match=named):
        check_preprocessing(Preprocessing(**given))


def test_means_for_another_number_of_channels():
    with pytest.raises(InputError, match=r"3 values.*1 channels"):
        prepare(torch.zeros(1, 1, 2, 2), Preprocessing(mean=(1, 2, 3)))


def test_a_channel_by_its_own_mean_and_deviation():
    x = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    found = prepare(x, Preprocessing(normalise="image", range=(0, 2))).numpy()
    values = x.numpy()
    for i, c in np.ndindex(3, 2):
        own = values[i, c]
        np.testing.assert_allclose(
            found[i, c], 2 * (own - own.mean()) / own.std(), rtol=2e-5, atol=1e-6
        )


def test_zeros_stay_out_of_it_and_stay_zero():
    x = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.1
    x[:, :, :3] = 0
    found = prepare(x, Preprocessing(normalise="nonzero")).numpy()
    assert (found[:, :, :3] == 0).all()
    own = x[1, 1, 3:].numpy()
    np.testing.assert_allclose(
        found[1, 1, 3:], (own - own.mean()) / own.std(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("percentiles", [(0, 100), (2, 98), (0.5, 99.5)])
def test_percentiles_as_numpy_has_them(percentiles):
    x = torch.randn(2, 3, 11, 13, generator=torch.Generator().manual_seed(2))
    given = Preprocessing(normalise="percentiles", percentiles=percentiles)
    found = prepare(x, given).numpy()
    for i, c in np.ndindex(2, 3):
        low, high = np.percentile(x[i, c].numpy(), percentiles)
        expected = np.clip((x[i, c].numpy() - low) / (high - low), 0, 1)
        np.testing.assert_allclose(found[i, c], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["image", "nonzero", "percentiles"])
def test_a_constant_channel_gives_numbers_and_gradients(kind):
    x = torch.full((1, 2, 4, 4), 0.3, requires_grad=True)
    prepare(x, Preprocessing(normalise=kind)).square().sum().backward()
    assert x.grad.isfinite().all()


def test_an_image_is_normalised_alone():
    x = torch.rand(3, 1, 6, 6) * torch.tensor([1.0, 3, 9]).view(3, 1, 1, 1)
    for kind in ("image", "nonzero", "percentiles"):
        given = Preprocessing(normalise=kind)
        alone = torch.cat([prepare(one[None], given) for one in x])
        torch.testing.assert_close(prepare(x, given), alone)


def test_percentiles_that_do_not_rise():
    with pytest.raises(InputError, match="preprocessing.percentiles"):
        check_preprocessing(Preprocessing(normalise="percentiles", percentiles=(99, 1)))

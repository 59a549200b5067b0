"""Maps that do not have the input's size: stretched, or in its middle."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.config import Preprocessing, Reading
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.place import Placed, Placement, by_a_stride
from conceptseg.network.record import Tail, encode

AS_LOGITS = Reading(values="logits")


class Unpadded(nn.Module):
    """Takes `lost` pixels off each side and keeps every `stride`-th of the rest."""

    def __init__(self, lost, stride=1):
        super().__init__()
        self.lost, self.stride, self.passes = lost, stride, 0

    def forward(self, x):
        self.passes += 1
        n = self.lost
        x = x[:, :, n : x.shape[2] - n, n : x.shape[3] - n] if n else x
        return F.avg_pool2d(x, self.stride, self.stride) if self.stride > 1 else x


class UNet(nn.Module):
    """A two-level U-Net without padding, which cuts its skip; it carries the input through."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 3, 3, bias=False)
        self.up = nn.Conv2d(3, 3, 3, bias=False)
        for conv in (self.down, self.up):
            nn.init.dirac_(conv.weight)

    def forward(self, x):
        skip = self.down(x)
        deep = F.interpolate(self.up(F.max_pool2d(skip, 2)), scale_factor=2)
        y, x = ((a - b) // 2 for a, b in zip(skip.shape[2:], deep.shape[2:], strict=True))
        return skip[:, :, y : y + deep.shape[2], x : x + deep.shape[3]] + 0 * deep


def model_of(module, reading=AS_LOGITS, **options):
    return SegmentationModel(module, "abc", channels=3, name="toy", reading=reading, **options)


@pytest.mark.parametrize("size", [(40, 48), (41, 47), (64, 64)])
@pytest.mark.parametrize("module", [Unpadded(7), Unpadded(16), UNet()])
def test_a_map_of_the_middle_is_laid_in_the_middle(module, size):
    images = torch.rand(2, 3, *size)
    logits = model_of(module)(images)
    assert logits.shape == images.shape
    torch.testing.assert_close(logits, images)


def test_a_middle_with_a_stride():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    logits = model_of(Unpadded(6, 4))(ramp)
    middle = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(logits[middle], ramp[middle], atol=0.02, rtol=0)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_coarse_map_of_all_of_the_image_is_stretched(stride):
    images = torch.rand(1, 3, 37, 50)
    module = Unpadded(0, stride)
    expected = F.interpolate(module(images), (37, 50), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model_of(module)(images), expected)


def test_a_map_of_one_size_or_of_a_share_is_stretched():
    for change in (
        lambda x: F.interpolate(x, (20, 20), mode="area"),
        lambda x: F.interpolate(x, scale_factor=2 / 3, mode="bilinear"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    ):
        module = Unpadded(0)
        module.forward = change
        images = torch.rand(1, 3, 60, 72)
        expected = F.interpolate(change(images), (60, 72), mode="bilinear", align_corners=False)
        torch.testing.assert_close(model_of(module)(images), expected)


def test_the_key_goes_before_what_is_found():
    images = torch.rand(1, 3, 40, 48)
    stretched = model_of(Unpadded(7), Reading(values="logits", place="stretch"))(images)
    inner = images[..., 7:-7, 7:-7]
    torch.testing.assert_close(stretched, F.interpolate(inner, (40, 48), mode="bilinear"))


def test_what_no_scale_explains_is_refused():
    module = Unpadded(0)
    module.forward = lambda x: x[:, :, : x.shape[2] // 2 + 3, : x.shape[3] - 5]
    with pytest.raises(InputError, match="map of 23 x 43 for .* 40 x 48.*model.place"):
        model_of(module)(torch.rand(1, 3, 40, 48))


def test_a_map_of_another_size_of_a_network_that_takes_one_size_only():
    module = Unpadded(0)

    def fixed(x):
        if x.shape[2:] != (40, 40):
            raise RuntimeError("expected size 40")
        return x[..., ::4, ::4]

    module.forward = fixed
    model = model_of(module, preprocessing=Preprocessing(size=(40, 40)))
    assert model(torch.rand(1, 3, 30, 30)).shape == (1, 3, 30, 30)


def test_a_network_whose_map_covers_the_image_is_tried_out_once():
    module = Unpadded(0)
    model = model_of(module)
    for side in (16, 20, 24):
        model(torch.rand(2, 3, side, side))
    assert module.passes == 3 + 2  # of the first image: what it puts out, and where


def test_a_margin_may_be_wider_than_the_image():
    placed = Placed((90, 2), (0, 0))
    x = torch.arange(12.0).view(1, 1, 3, 4)
    wide = placed.widened(x)
    assert wide.shape == (1, 1, 93, 6)
    torch.testing.assert_close(placed.cut(wide, (3, 4)), x)


@pytest.mark.parametrize(
    ("grid", "size", "fits"),
    [((10, 12), (40, 48), True), ((11, 12), (41, 48), True), ((80, 96), (40, 48), True),
     ((26, 34), (40, 48), False), ((13, 20), (40, 48), False)],
)  # fmt: skip
def test_strides(grid, size, fits):
    assert by_a_stride(grid, size) is fits


def test_a_second_size_goes_before_what_the_first_looks_like():
    """Half of 40 px by chance: of 72 px neither a half nor a crop is left."""
    module = Unpadded(0)
    module.forward = lambda x: x[:, :, : x.shape[2] - 20, :24] if x.shape[2] == 40 else x[..., :9]
    with pytest.raises(InputError, match="map of 20 x 24 for .* 40 x 48, of 72 x 9.*model.place"):
        model_of(module)(torch.rand(1, 3, 40, 48))


def test_sizes_that_are_widened_to_one_have_windows_of_their_own():
    model = model_of(Unpadded(2))
    model.placement._known.update({(38, 38): Placed((6, 6), (4, 4)), (40, 40): Placed((4, 4))})
    for side, corner in ((38, 3), (40, 2)):
        model.placement.widened(torch.rand(1, 3, side, side))
        assert model.window((44, 44)) == ((corner, corner), (side, side))


def test_the_centre_needs_a_whole_stride():
    with pytest.raises(InputError, match="model.place"):
        Placement("centre").settle(
            torch.zeros(1, 3, 60, 60), lambda x: F.interpolate(x, scale_factor=2 / 3)
        )


def test_a_layers_map_is_the_part_that_lies_on_the_image():
    images = torch.rand(2, 3, 40, 48)
    model = model_of(nn.Sequential(nn.Conv2d(3, 3, 9, bias=False), nn.Conv2d(3, 3, 5, bias=False)))
    for conv in model.module:
        nn.init.dirac_(conv.weight)
    torch.testing.assert_close(encode(model, images, "0"), images)
    tail = Tail.of(model, images, "0", graph=True)
    torch.testing.assert_close(tail.resume(tail.activation), tail.logits)
    # What is written into the layer's map shows in the logits at the same place.
    spot = torch.zeros_like(images)
    spot[:, 1, 10, 30] = 5
    change = tail.resume(tail.activation + spot) - tail.logits
    torch.testing.assert_close(change, spot, atol=1e-5, rtol=0)
    gradient = tail.gradient(lambda z: z[:, 1, 10, 30])
    assert gradient.nonzero().tolist() == [[0, 1, 10, 30], [1, 1, 10, 30]]


def test_windows_of_several_sizes_do_not_mix():
    model = model_of(Unpadded(7))
    for side in (40, 54):
        model(torch.rand(1, 3, side, side))
    assert model.window((54, 54)) == ((7, 7), (40, 40))
    assert model.window((40, 40)) is None

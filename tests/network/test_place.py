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
    assert module.passes == 3 + 3  # of the first image: what it puts out, where, and if it rounds


@pytest.mark.parametrize(("step", "tried"), [(4, 3), (7, 6 + 2)])
def test_a_network_of_certain_sizes_is_tried_out_with_the_least_of_them(step, tried):
    """Where none of the steps that are tried is its own, for each size."""
    module = Unpadded(0)

    def certain(x):
        module.passes += 1
        if x.shape[2] % step or x.shape[3] % step:
            raise RuntimeError(f"sides must be multiples of {step}")
        return x

    module.forward = certain
    model = model_of(module)
    for side in (4, 5, 6, 5):
        model(torch.rand(2, 3, side * step, side * step))
    assert module.passes == 4 + 2 + tried


def test_a_map_that_has_the_input_s_size_most_of_the_time():
    module = Unpadded(0)
    module.forward = lambda x: F.pad(x, (0, 3, 0, 0)) if x.shape[3] > 80 else x
    model = model_of(module)
    model(torch.rand(1, 3, 40, 40))
    with pytest.raises(InputError, match="map of 40 x 93 for .* 40 x 90, but .*model.place"):
        model(torch.rand(1, 3, 40, 90))


class Rounding(Unpadded):
    """Brings its input to sides that `step` divides, and leaves its map so."""

    def __init__(self, step, how, stride=1):
        super().__init__(0, stride)
        self.step, self.how = step, how

    def forward(self, x):
        h, w = x.shape[2:]
        down, right = -h % self.step, -w % self.step
        if self.how == "pad":
            x = F.pad(x, (0, right, 0, down), mode="replicate")
        elif self.how == "pad to a square":
            side = max(h + down, w + right)
            x = F.pad(x, (0, side - w, 0, side - h), mode="replicate")
        elif self.how == "scale":
            x = F.interpolate(x, (h + down, w + right), mode="bilinear")
        else:
            x = x[:, :, : h - h % self.step, : w - w % self.step]
        return super().forward(x)


@pytest.mark.parametrize("first", [(64, 32), (50, 70)])
@pytest.mark.parametrize("size", [(50, 70), (64, 45), (35, 96), (210, 300)])
@pytest.mark.parametrize("how", ["pad", "scale", "cut"])
@pytest.mark.parametrize("step", [16, 32])
def test_a_map_of_rounded_sides_lies_on_the_image_whatever_size_came_first(step, how, size, first):
    model = model_of(Rounding(step, how))
    model(torch.rand(1, 3, *first))
    images = torch.rand(2, 3, *size)
    torch.testing.assert_close(model(images), images)


def test_a_coarse_map_of_rounded_sides():
    model = model_of(Rounding(32, "pad", stride=4))
    model(torch.rand(1, 3, 32, 64))
    ramp = torch.linspace(0, 1, 70).expand(1, 3, 50, 70)
    middle = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(model(ramp)[middle], ramp[middle], atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("module", "size"),
    [(Rounding(128, "pad"), (70, 70)), (Rounding(128, "pad"), (70, 120)),
     (Rounding(32, "pad to a square"), (50, 70))],
)  # fmt: skip
def test_a_map_larger_than_its_input_is_refused_where_its_place_is_not_found(module, size):
    model = model_of(module)
    model(torch.rand(1, 3, 128, 128))
    with pytest.raises(InputError, match="map of .* for an input of [75]0 x .*model.place"):
        model(torch.rand(1, 3, *size))


def test_a_known_scale_is_not_searched_again():
    module = Unpadded(0, 4)
    model = model_of(module)
    passes = []
    for size in ((40, 48), (37, 50), (60, 61)):
        before = module.passes
        model(torch.rand(1, 3, *size))
        passes.append(module.passes - before)
        assert model.placement.grid == (size[0] // 4, size[1] // 4)
    assert passes == [4, 2, 2]


@pytest.mark.parametrize("sizes", [[(64, 64), (30, 50), (90, 40)], [(30, 50), (64, 64), (90, 90)]])
def test_a_map_of_one_size_whatever_comes(sizes):
    module = Unpadded(0)
    module.forward = lambda x: F.interpolate(x, (64, 64), mode="bilinear")
    model = model_of(module)
    for size in sizes:
        images = torch.rand(1, 3, *size)
        expected = F.interpolate(module(images), size, mode="bilinear")
        torch.testing.assert_close(model(images), expected)


def test_too_much_padding_is_refused_and_the_centre_cuts_it():
    padding = nn.ConstantPad2d(2, 0.0)
    images = torch.rand(1, 3, 64, 80)
    with pytest.raises(InputError, match="68 x 84 .*model.place"):
        model_of(padding)(images)
    centred = model_of(padding, Reading(values="logits", place="centre"))
    torch.testing.assert_close(centred(images), images)


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

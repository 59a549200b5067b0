"""SegmentationModel on toy networks whose logits are known."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.config import ModelConfig, Preprocessing, Reading
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel, load_model

CLASSES = ("sky", "road", "car")


class Returns(nn.Module):
    """Calls a function on its input, counts nothing, holds one weight."""

    def __init__(self, function):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x * self.scale)


def model_of(function, classes=CLASSES, **options) -> SegmentationModel:
    options.setdefault("reading", Reading(values="logits"))
    return SegmentationModel(Returns(function), classes, channels=3, name="toy", **options)


def test_forward_is_preprocess_module_resize():
    given = Preprocessing(range=(0, 255), mean=(1, 2, 3), std=(4, 5, 6))
    model = model_of(lambda x: {"out": F.avg_pool2d(x, 2)}, preprocessing=given)
    images = torch.rand(2, 3, 6, 8)
    x = (255 * images - torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)) / torch.tensor(
        [4.0, 5, 6]
    ).view(1, 3, 1, 1)
    pooled = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    expected = F.interpolate(pooled, (6, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(images), expected)


def test_bilinear_by_hand():
    # Of another size it would keep one row all the same: nothing tells where that lies.
    model = model_of(
        lambda x: x[..., :1, ::2],
        preprocessing=Preprocessing(size=(1, 4)),
        reading=Reading(values="logits", place="stretch"),
    )
    image = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 1, 4)
    # from two values to four with corners not aligned: positions -1/4, 1/4, 3/4, 5/4
    torch.testing.assert_close(model(image)[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_logits_come_back_at_the_images_size_whatever_the_network_runs_at():
    model = model_of(lambda x: F.avg_pool2d(x, 4), preprocessing=Preprocessing(multiple=8))
    assert model(torch.rand(1, 3, 13, 22)).shape == (1, 3, 13, 22)


@pytest.mark.parametrize(("positive", "channel"), [(None, 1), ("car", 1), ("road", 0)])
def test_a_sigmoid_head_is_two_classes(positive, channel):
    model = model_of(lambda x: x[:, :1] - 0.4, ("road", "car"), positive_class=positive)
    images = torch.rand(2, 3, 4, 4)
    logits = model(images)
    z = images[:, 0] - 0.4
    torch.testing.assert_close(logits[:, channel], z)
    assert torch.equal(logits[:, 1 - channel], torch.zeros_like(z))
    torch.testing.assert_close(logits.softmax(1)[:, channel], z.sigmoid())
    assert torch.equal(logits.argmax(1) == channel, z > 0)


def test_one_map_for_three_classes():
    with pytest.raises(InputError, match=r"one class map.*3 are named.*model.classes"):
        model_of(lambda x: x[:, :1])(torch.rand(1, 3, 4, 4))


def test_class_count_mismatch_names_both():
    with pytest.raises(
        InputError, match=r"'toy': it puts out 6 class maps .*, but 3 .*model.classes"
    ):
        model_of(lambda x: torch.cat([x, x], 1))(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("classes", "positive", "words"),
    [
        (("a", "b", "a"), None, "'a' is named twice"),
        (("a",), None, "at least two"),
        ((), None, "at least two"),
        (("road", "car"), "cat", "no class 'cat'; did you mean 'car'"),
    ],
)
def test_class_names_refused(classes, positive, words):
    with pytest.raises(InputError, match=words):
        model_of(lambda x: x, classes, positive_class=positive)


def test_wrong_channels_said():
    model = model_of(lambda x: x)
    with pytest.raises(
        InputError, match=r"takes images with 3 channels, these have 1.*\[0, 0, 0\]"
    ):
        model(torch.rand(1, 1, 4, 4))


def test_wrong_channels_guessed_from_the_first_weight():
    model = SegmentationModel(nn.Conv2d(5, 3, 1), CLASSES, name="toy")
    assert model.channels == 5
    with pytest.raises(InputError, match=r"5 channels, these have 3"):
        model(torch.rand(1, 3, 4, 4))


class Reached(nn.Module):
    """The image meets the convolution that is registered last, after `before`."""

    def __init__(self, taken, before):
        super().__init__()
        self.head, self.side = nn.Conv2d(6, 3, 1), nn.Conv2d(7, 6, 1)
        self.place, self.stem = nn.Parameter(torch.zeros(1, 7, 4, 4)), nn.Conv2d(taken, 6, 1)
        self.before = before

    def forward(self, x):
        seen = self.side(self.place).mean((2, 3), keepdim=True)  # no image comes here
        return self.head(self.stem(self.before(x)) + seen)


def beside(x):
    return torch.cat([x, x[:, :2] * 0, x[:, :1] * 0], 1)


@pytest.mark.parametrize(
    ("taken", "before", "channels"),
    [
        (5, nn.Identity(), 5),
        (2, nn.BatchNorm2d(2).eval(), 7),  # nothing comes through: the first weight's
        (4, nn.BatchNorm2d(4).eval(), 4),
        (5, beside, 2),
        (12, nn.PixelUnshuffle(2), 3),
    ],
)
def test_channels_are_those_of_the_weight_that_the_image_meets(taken, before, channels):
    model = SegmentationModel(Reached(taken, before), CLASSES, name="toy")
    assert model.channels == channels
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_picked_channels():
    given = Preprocessing(channels=(3, 0, 1))
    model = SegmentationModel(nn.Conv2d(3, 3, 1), CLASSES, given)
    assert model.channels == 4
    assert model(torch.rand(1, 6, 4, 4)).shape == (1, 3, 4, 4)
    with pytest.raises(InputError, match=r"images have 3 channels.*picks channel 3"):
        model(torch.rand(1, 3, 4, 4))


def test_not_a_batch():
    with pytest.raises(InputError, match=r"\[n, channels, h, w\], got \[3, 4, 4\]"):
        model_of(lambda x: x)(torch.rand(3, 4, 4))


def test_sides_that_do_not_fit_name_the_cure():
    def u_net(x: Tensor) -> Tensor:
        return F.interpolate(F.avg_pool2d(x, 2), scale_factor=2) + x

    with pytest.raises(InputError, match=r"\[1, 3, 5, 4\].*model.preprocessing.multiple"):
        model_of(u_net)(torch.rand(1, 3, 5, 4))
    fitting = model_of(u_net, preprocessing=Preprocessing(multiple=2))
    assert fitting(torch.rand(1, 3, 5, 4)).shape == (1, 3, 5, 4)


def test_other_errors_keep_their_words():
    def fails(x: Tensor) -> Tensor:
        raise RuntimeError("cuBLAS is unwell")

    with pytest.raises(InputError, match=r"RuntimeError: cuBLAS is unwell \(line .*test_model.py"):
        model_of(fails)(torch.rand(1, 3, 4, 4))


def test_gradient_to_the_image_and_float64():
    def square(x: Tensor) -> Tensor:
        return (x**2)[..., ::2, ::2]

    given = Preprocessing(range=(0, 3), mean=(0.1,), std=(2.0,), channels=(2, 0, 1))
    model = model_of(square, preprocessing=given).double()
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert model(images).dtype == torch.float64
    assert torch.autograd.gradcheck(model, images)


def test_half_logits_become_float32():
    model = SegmentationModel(nn.Conv2d(3, 3, 1), CLASSES)
    images = torch.rand(1, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(images), atol=0.02, rtol=0.02)


def test_evaluation_mode_and_parameters_untouched():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.9))
    net[0].weight.requires_grad_(False)
    model = SegmentationModel(net, CLASSES)
    images = torch.rand(4, 3, 5, 5)
    before = [p.requires_grad for p in model.parameters()]
    mark = model.fingerprint()
    model(images).sum().backward()
    assert not any(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == before
    assert model.fingerprint() == mark, "batch norm kept its statistics"


def test_channels_last_gives_the_same():
    net = nn.Conv2d(3, 3, 3, padding=1)
    plain = SegmentationModel(net, CLASSES, Preprocessing(channels=(2, 1, 0)))
    images = torch.rand(2, 3, 8, 8)
    expected = plain(images).detach()
    laid_out = plain.to(memory_format=torch.channels_last)
    seen = []
    net.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    found = laid_out(images.contiguous(memory_format=torch.channels_last))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers(value):
    model = model_of(lambda x: x)
    logits = torch.zeros(3, 3, 2, 2)
    model.check_finite(logits, ["a", "b", "c"])
    logits[1, 2, 0, 1] = value
    with pytest.raises(InputError, match=r"NaN or infinity for sample 'b'"):
        model.check_finite(logits, ["a", "b", "c"])
    with pytest.raises(InputError, match=r"layer 'body' puts out NaN or infinity for sample 'b'"):
        model.check_finite(logits, ["a", "b", "c"], "body")
    with pytest.raises(InputError, match="layer 'body' has one value per unit and image, no map"):
        model.check_finite(torch.zeros(3, 4, 1, 1), ["a", "b", "c"], "body")


def test_class_id():
    model = model_of(lambda x: x)
    assert [model.class_id(name) for name in CLASSES] == [0, 1, 2]
    with pytest.raises(InputError, match="no class 'raod': did you mean 'road'"):
        model.class_id("raod")


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))


def test_fingerprint_is_the_same_for_the_same_network():
    clean = SegmentationModel(small(), CLASSES).fingerprint()
    assert clean == SegmentationModel(small(), CLASSES, name="other").fingerprint()
    laid_out = SegmentationModel(small(), CLASSES).to(memory_format=torch.channels_last)
    assert clean == laid_out.fingerprint()
    assert len(clean) == 64


def test_fingerprint_sees_every_difference():
    def changed(index: int) -> SegmentationModel:
        net = small()
        tensors = [*net.parameters(), *net.buffers()]
        with torch.no_grad():
            tensors[index].view(-1)[0] += 1
        return SegmentationModel(net, CLASSES)

    dilated = small()
    dilated[0].dilation = (2, 2)
    models = [
        SegmentationModel(small(), CLASSES),
        *(changed(index) for index in range(9)),
        SegmentationModel(small(), CLASSES[::-1]),
        SegmentationModel(small(), CLASSES, Preprocessing(mean=(0.5,))),
        SegmentationModel(dilated, CLASSES),
    ]
    assert len({model.fingerprint() for model in models}) == len(models)


def test_fingerprint_ignores_addresses():
    class Lambda(nn.Module):
        def extra_repr(self) -> str:
            return repr(object())

    prints = {SegmentationModel(Lambda(), CLASSES).fingerprint() for _ in range(3)}
    assert len(prints) == 1


def test_unknown_source_names_the_nearest():
    with pytest.raises(InputError, match=r"'torchvison'; did you mean 'torchvision'"):
        load_model(ModelConfig(source="torchvison", name="x"), CLASSES)


@pytest.mark.parametrize("conv", [nn.Conv3d(3, 3, 1), nn.ConvTranspose3d(1, 3, 2)])
def test_networks_of_volumes_say_so(conv):
    """Whether they would fail, or take one image for a volume of as many slices as channels."""
    net = nn.Sequential(nn.Identity(), conv)
    with pytest.raises(InputError, match=r"'vol' takes volumes: .*'1', is three-dimensional"):
        SegmentationModel(net, CLASSES, name="vol")(torch.rand(2, 3, 8, 8))
    assert not conv._forward_pre_hooks


def test_a_volume_of_one_slice_is_the_networks_own_affair():
    class Slice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(3, 3, 1)

        def forward(self, x):
            return self.conv(x[:, :, None])[:, :, 0]

    model = SegmentationModel(Slice(), CLASSES, reading=Reading(values="logits"))
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({"name": "nonsense"}, ".name: unknown net"),
        ({"weights": "none.pth"}, ".weights: a planted"),
    ],
)
def test_what_is_wrong_is_told_of_the_key_where_a_network_stands(given, own):
    config = ModelConfig(source="planted", **{"name": "biased", **given})
    for key in ("model", "second", "seeds[1]"):
        with pytest.raises(InputError) as told:
            load_model(config, [], key=key)
        assert str(told.value).startswith(key + own)

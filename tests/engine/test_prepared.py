"""Batch norms name images that are prepared otherwise than in training, and only those."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.config import Preprocessing, RunConfig
from conceptseg.engine.contract import Context
from conceptseg.engine.examine import examine
from conceptseg.engine.otherwise import IMAGENET, MEAN_COLOUR, readings, scalings
from conceptseg.engine.prepared import Fit, _plainest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.preprocess import prepare

WAYS = {
    "plain": Preprocessing(),
    "bytes": Preprocessing(range=(0, 255)),
    "imagenet": Preprocessing(**IMAGENET),
    "centred": Preprocessing(range=(0, 255), mean=(150, 100, 60)),
    "blue first": Preprocessing(range=(0, 255), mean=(60, 100, 150), channels=(2, 1, 0)),
    "signs": Preprocessing(range=(-1, 1)),
    "twice": Preprocessing(std=(255.0,)),
}


def scene(seed):
    """An image [3, 32, 40]: soft blobs, warm on the whole, of a brightness of its own."""
    rng = np.random.default_rng(seed)
    fields = torch.from_numpy(rng.normal(0, 1, (1, 4, 5, 6))).float()
    fields = nn.functional.interpolate(fields, (32, 40), mode="bicubic")[0]
    light = rng.normal(0, 0.06)
    colour = torch.tensor([0.58, 0.40, 0.25]) + light
    image = colour[:, None, None] + 0.12 * fields[:1] + 0.05 * fields[1:]
    return (image + 0.02 * torch.from_numpy(rng.normal(0, 1, (3, 32, 40))).float()).clamp(0, 1)


def network(way, seed=0, norm=nn.BatchNorm2d):
    """Random filters, whose norms learn what images that are prepared `way` give."""
    torch.manual_seed(seed)
    layers, width = [], 3
    for _ in range(8):
        layers += [nn.Conv2d(width, 12, 3, padding=1, bias=False), norm(12), nn.ReLU()]
        width = 12
    net = nn.Sequential(*layers, nn.Conv2d(12, 3, 1)).train()
    for one in net.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = None
    images = torch.stack([scene(10_000 + i) for i in range(48)])
    with torch.no_grad():
        for part in prepare(images, way).split(16):
            net(part)
    return net.eval()


class Scenes:
    name = where = "scenes"
    classes = ("a", "b", "c")
    background = None
    block = SimpleNamespace(used=range(3))

    def __init__(self, first=0, count=12):
        self.samples = [SimpleNamespace(id=f"{first + i}", group="") for i in range(count)]

    def labelled_samples(self):
        return []

    def labelled(self, sample):
        return False

    def image(self, sample):
        return scene(int(sample.id)).numpy()

    def labels(self, sample):
        return None

    def pair(self, sample):
        return self.image(sample), None

    def sample(self, name):
        return next(one for one in self.samples if one.id == name)


def examined(net, way, data=None):
    model = SegmentationModel(net, "abc", way, name="toy")
    return examine(Context(model, data or Scenes(), RunConfig(device="cpu"), "0", 0))


def fit(pooled, each, without=None):
    each = np.asarray(each)
    return Fit(pooled, each, np.full(len(each), pooled) if without is None else np.array(without))


def doubts(*args):
    return {one.what: one.found for one in examined(*args).doubts}


@pytest.mark.parametrize("name", WAYS)
def test_images_that_are_prepared_as_in_training_are_not_doubted(name):
    net = network(WAYS[name])
    for first in (0, 100):
        found = examined(net, WAYS[name], Scenes(first))
        assert found.doubts == (), found.doubts
        assert found.passed <= 12 * found.images


@pytest.mark.parametrize(
    ("right", "given", "words"),
    [
        ("plain", "bytes", "images from 0 to 1"),
        ("bytes", "plain", "images from 0 to 255"),
        ("imagenet", "plain", "images normalised as for ImageNet"),
        ("imagenet", "bytes", "images normalised as for ImageNet"),
        ("centred", "bytes", "images less their mean colour"),
        ("plain", "imagenet", "images that are not normalised"),
        ("centred", "imagenet", "images less their mean colour"),
        ("signs", "bytes", "images from -1 to 1"),
        ("twice", "plain", "images divided by 255 once more"),
        ("plain", "twice", "images that are not normalised"),
    ],
)
def test_images_that_are_prepared_otherwise_are_named(right, given, words):
    found = doubts(network(WAYS[right]), WAYS[given])
    assert list(found) == [words]
    assert "away from training against 0." in found[words] and "try model.pre" in found[words]


class Photos(Scenes):
    """Images of which no two are of one size."""

    def image(self, sample):
        number = int(sample.id)
        return scene(number)[:, : 20 + number, : 40 - number].numpy()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Preprocessing(std=IMAGENET["std"]), "images normalised as for ImageNet"),
        (Preprocessing(range=(0, 255)), "images normalised as for ImageNet"),
        (Preprocessing(**IMAGENET, channels=(2, 1, 0)), "images with channels reversed"),
        (WAYS["imagenet"], None),
    ],
)
def test_images_of_all_sizes_tell_how_they_are_prepared(given, words):
    found = examined(network(WAYS["imagenet"]), given, Photos())
    assert found.images == 1  # what is compared pixel by pixel is of one size
    assert [one.what for one in found.doubts] == ([] if words is None else [words])


def test_channels_that_are_reversed_are_named():
    for name in ("plain", "imagenet"):
        wrong = WAYS[name].model_copy(update={"channels": (2, 1, 0)})
        for seed in (0, 1):  # in the first it shows from the first norm on, in the second later
            found = doubts(network(WAYS[name], seed), wrong)
            assert list(found) == ["images with channels reversed"]
            assert "channels: [0, 1, 2]" in found["images with channels reversed"]


def test_what_nothing_explains_is_doubted_too():
    odd = Preprocessing(range=(0, 7), mean=(31.0,))
    found = doubts(network(odd), WAYS["plain"])
    assert "nor do they fit any of" in found["batch norms"]


def test_where_no_norm_tells_it_is_said():
    made = network(WAYS["plain"], norm=nn.InstanceNorm2d)
    said = {one.what: one.found for one in examined(made, WAYS["bytes"]).verdicts}
    assert "without masks it cannot be told" in said["batch norms"]


def test_a_ratio_has_the_interval_of_its_logarithms():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        one = fit(0.1, np.exp(rng.normal(0.3, 0.5, 6)))
        ratio, low, high = one.over(fit(0.1, np.ones(6)))
        assert low < ratio < high
        inside += low < np.exp(0.3) < high
    assert abs(inside / 400 - 0.95) < 0.035
    assert fit(0.1, np.ones(2)).over(fit(0.1, np.ones(2))) == (1.0, 0.0, float("inf"))


@pytest.mark.parametrize(
    ("own", "other", "worse"),
    [
        (fit(0.3, [0.3, 0.4, 0.3, 0.3]), fit(0.03, [0.1, 0.1, 0.1, 0.1]), True),  # each image
        (fit(0.2, [0.5, 0.5, 0.1, 0.1]), fit(0.03, [0.1, 0.1, 0.3, 0.3]), True),  # all together
        (fit(0.2, [0.5, 0.5, 0.1, 0.1]), fit(0.12, [0.1, 0.1, 0.3, 0.3]), False),  # nothing fits
        (fit(0.05, [0.5, 0.5, 0.1, 0.1]), fit(0.01, [0.1, 0.1, 0.3, 0.3]), False),  # both fit
        (  # without the first image it fits by itself
            fit(0.2, [0.9, 0.1, 0.1, 0.1], [0.05, 0.2, 0.2, 0.2]),
            fit(0.03, [0.1, 0.1, 0.3, 0.3]),
            False,
        ),
        (  # without the first image neither is better
            fit(0.2, [0.9, 0.1, 0.1, 0.1], [0.15, 0.2, 0.2, 0.2]),
            fit(0.03, [0.1, 0.1, 0.3, 0.3], [0.14, 0.03, 0.03, 0.03]),
            False,
        ),
        (fit(0.3, [0.3, 0.4]), fit(0.03, [0.1, 0.1]), False),  # of two images nothing is sure
    ],
)
def test_what_is_clearly_worse(own, other, worse):
    assert own.clearly_worse(other) is worse


def test_no_reading_is_the_one_that_is_used_and_none_comes_twice():
    images = torch.rand(2, 3, 8, 8)
    for way in WAYS.values():
        first = prepare(images, way)
        others = [way.model_copy(update=change) for _, change in scalings(way, images)]
        seen = [first, *(prepare(images, one) for one in others)]
        for i, one in enumerate(seen):
            for other in seen[:i]:
                assert not torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        assert len(list(readings(way, images))) <= 8


@pytest.mark.parametrize("channels", [(1,), (2, 0), (2, 1, 0)])
def test_readings_are_of_the_channels_that_are_picked(channels):
    images, own = torch.rand(2, 4, 8, 8), Preprocessing(channels=channels)
    for words, changes in (*readings(own, images), *scalings(own, images)):
        assert prepare(images, own.model_copy(update=changes)).shape[1] == len(channels), words
    assert any("channels" in changes for _, changes in readings(own, images)) is (
        len(channels) == 3
    )


def test_what_adapts_to_the_images_is_named_only_where_nothing_else_fits():
    def named(**pooled):
        known = {
            "itself": ("images normalised each by itself", {"normalise": "image"}),
            "colour": (MEAN_COLOUR, {"mean": (0.4,)}),
            "fixed": ("images from 0 to 255", {"range": (0, 255)}),
        }
        tried = [(fit(far, np.ones(3)), *known[name]) for name, far in pooled.items()]
        return _plainest(tried)[1]

    assert named(itself=0.020, colour=0.03, fixed=0.053) == "images from 0 to 255"
    assert named(itself=0.012, colour=0.03, fixed=0.053) == "images normalised each by itself"
    assert named(itself=0.060, colour=0.05, fixed=0.140) == MEAN_COLOUR
    assert named(itself=0.060) == "images normalised each by itself"

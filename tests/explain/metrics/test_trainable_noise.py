"""The noise level of what a map marks, by loops, and where it is known beforehand."""

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.metrics.trainable_noise import TrainableNoise
from conceptseg.explain.noise_model import KIND, Noise, fitted, fresh, restored
from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import trial
from tests.small_models import images, unet

WHOLE = Target(1, Everything())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A noise network of random weights, whose levels differ from pixel to pixel."""
    net = fresh(unet(), images(1, 16, 24), 2, 3)
    with torch.no_grad():
        net.head.weight.mul_(40)
    made = fitted(unet(), net.state_dict(), [0, 1], Noise(), 1)
    return made.save(tmp_path_factory.mktemp("noise") / "weights")


def test_loops_over_pixels_and_thresholds(weights):
    x = images(2, 16, 24)
    maps = torch.rand(2, 16, 24, generator=torch.Generator().manual_seed(2))
    given = trial(unet(), x, maps, WHOLE)
    for moment in (1, 2):
        metric = TrainableNoise(weights=weights, scaling="none", moment=moment)
        found = metric.measure(given)
        net, classes, _ = restored(Fitted.load(weights, KIND, unet(), ""), x)
        for i in range(2):
            masked = torch.stack([x[i, c] * maps[i] for c in range(3)])
            with torch.no_grad():
                level = net(masked[None])[0, classes.index(1)].sigmoid()
            for p, threshold in enumerate(found.at):
                marked = [
                    level[y, j].item() ** moment
                    for y in range(16)
                    for j in range(24)
                    if maps[i, y, j] > threshold
                ]
                assert found.curve[i, p].item() == pytest.approx(
                    sum(marked) / len(marked), rel=1e-4
                )


def test_a_map_of_ones_has_the_plain_mean_level(weights):
    x = images(2, 16, 24)
    net, _, _ = restored(Fitted.load(weights, KIND, unet(), ""), x)
    with torch.no_grad():
        expected = net(x)[:, 1].sigmoid().mean((1, 2))
    found = TrainableNoise(weights=weights).measure(trial(unet(), x, torch.ones(2, 16, 24), WHOLE))
    torch.testing.assert_close(found.value, expected, rtol=1e-4, atol=1e-6)


def test_constant_levels_tell_no_two_maps_apart(tmp_path):
    net = fresh(unet(), images(1, 16, 24), 3, 0)
    with torch.no_grad():
        net.head.weight.zero_()
    path = fitted(unet(), net.state_dict(), [0, 1, 2], Noise(), 1).save(tmp_path / "w")
    x, metric = images(2, 16, 24), TrainableNoise(weights=path)
    scores = [
        metric.measure(trial(unet(), x, torch.rand(2, 16, 24), WHOLE)).value for _ in range(2)
    ]
    torch.testing.assert_close(scores[0], scores[1])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "weights: none are given; fit one"),
        ({"weights": "nowhere"}, "nowhere is no file of fitted numbers; fit one"),
    ],
)
def test_without_a_fit_it_says_how_to_have_one(keys, words):
    with pytest.raises(InputError, match=words):
        TrainableNoise(**keys).measure(trial(unet(), images(1, 16, 24), target=WHOLE))


def test_a_class_that_was_not_fitted_is_named(weights):
    with pytest.raises(InputError, match="was not fitted to class 2"):
        given = trial(unet(), images(1, 16, 24), target=Target(2, Everything()))
        TrainableNoise(weights=weights).measure(given)

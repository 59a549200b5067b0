from statistics import stdev

import pytest
import torch

from conceptseg.explain.contract import Trial
from conceptseg.explain.explainers.metfa import Metfa
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.metrics.noise_spread import NoiseSpread
from conceptseg.explain.noise import generator
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import additive, pointwise, trial
from tests.small_models import images, unet

WHOLE = Target(1, Everything())


def test_deviation_of_each_pixel_by_hand():
    x = images(2, 5, 6)
    found = NoiseSpread(draws=4, radius=0.2, seed=3).measure(trial(pointwise(), x, target=WHOLE))
    noise = [2 * torch.rand(3, 5, 6, generator=generator(3, "uniform", j)) - 1 for j in range(4)]
    for i in range(2):
        maps = [(x[i] + 0.2 * e).clamp(0, 1).mean(0) for e in noise]
        maps = [((one - one.min()) / (one.max() - one.min())).flatten().tolist() for one in maps]
        spread = [stdev(values) for values in zip(*maps, strict=True)]
        assert found.value[i].item() == pytest.approx(sum(spread) / 30, rel=1e-4)


def test_a_linear_network_s_gradient_has_none():
    net, x = additive(8, 9), images(2, 8, 9, 1)
    target = Target(1, Everything(), "logit")
    scene, method = Scene(net, x), VanillaSaliency()
    given = Trial(scene, method, target, method.on(scene, [target])[0])
    assert NoiseSpread().measure(given).value.max() < 1e-6


def test_smoothing_over_draws_lowers_it():
    net, x = unet(), images(3, 24, 32)
    values = {}
    for method in (VanillaSaliency(), Metfa(draws=12)):
        scene = Scene(net, x)
        given = Trial(scene, method, WHOLE, method.on(scene, [WHOLE])[0])
        values[method.name()] = NoiseSpread(draws=5).measure(given).value
    assert (values["metfa"] < 0.9 * values["vanilla_saliency"]).all()

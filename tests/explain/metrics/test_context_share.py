import math

import pytest
import torch

from conceptseg.explain.metrics.context_share import ContextShare
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)
BOX = Target(1, Box(4, 6, 9, 12))


@pytest.mark.parametrize("radius", [0, 1.5, 3])
@pytest.mark.parametrize("sign", ["positive", "absolute"])
def test_loops(radius, sign):
    maps = noise(2, 16, 24)
    found = ContextShare(radius_px=radius, sign=sign).measure(trial(MODEL, X, maps, BOX))
    for i in range(2):
        total = outside = 0.0
        for y in range(16):
            for x in range(24):
                value = maps[i, y, x].item()
                value = abs(value) if sign == "absolute" else max(value, 0.0)
                gap = math.hypot(max(4 - y, 0, y - 8), max(6 - x, 0, x - 11))
                total += value
                outside += value * (gap > radius)
        assert found.value[i].item() == pytest.approx(outside / total, abs=1e-6)


def test_planted():
    """Mass on the object, on its rim, and far away."""
    maps = torch.zeros(2, 16, 24)
    maps[0, 5, 7], maps[0, 10, 7], maps[0, 0, 23] = 1, 2, 5
    maps[1] = -1
    given = trial(MODEL, X, maps, BOX)
    shares = [ContextShare(radius_px=r).measure(given).value[0].item() for r in (0, 1, 2, 99)]
    assert shares == pytest.approx([7 / 8, 7 / 8, 5 / 8, 0.0])
    assert ContextShare().measure(given).value[1].isnan()
    assert ContextShare(sign="absolute", radius_px=0).measure(given).value[1].item() == (
        pytest.approx(1 - 30 / (16 * 24))
    )


def test_no_context_outside_of_everything():
    given = trial(MODEL, X, noise(2, 16, 24), Target(1, Everything()))
    assert ContextShare().measure(given).value.tolist() == [0.0, 0.0]

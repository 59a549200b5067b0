import math

import numpy as np
import pytest
import torch

from conceptseg.explain.metrics.pointing_game import PointingGame
from conceptseg.explain.regions import Box
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, trial
from tests.small_models import images, unet

MODEL, BOX = unet(), Target(1, Box(4, 6, 9, 12))
TILE = torch.zeros(40, 16, 24, dtype=torch.bool)
TILE[:, 8:] = True
X = images(40)


@pytest.mark.parametrize("tolerance", [0, 2, 3.7])
@pytest.mark.parametrize("within", ["region", "context"])
def test_loops(tolerance, within):
    """On forty maps, the distance of the peak to the nearest expected pixel."""
    maps = noise(40, 16, 24)
    inside = [(y, x) for y in range(4, 9) for x in range(6, 12)]
    wanted = inside
    if within == "context":
        wanted = [(y, x) for y in range(8, 16) for x in range(24) if (y, x) not in inside]
    given = trial(MODEL, X, maps, BOX, context=TILE)
    found = PointingGame(tolerance_px=tolerance, within=within).measure(given).value
    expected = []
    for one in maps:
        y, x = divmod(int(one.argmax()), 24)
        gap = min(math.hypot(y - v, x - u) for v, u in wanted)
        expected.append(float(gap <= tolerance))
    assert found.tolist() == expected
    assert 0 < sum(expected) < 40


def test_peaks_that_tie_share_the_point():
    maps = torch.zeros(40, 16, 24)
    maps[0, 5, 7] = maps[0, 5, 8] = maps[0, 0, 0] = 3
    maps[1:] = -1
    found = PointingGame().measure(trial(MODEL, X, maps, BOX)).value
    assert found[0].item() == pytest.approx(2 / 3)
    assert found[1:].isnan().all(), "a map without positive values points nowhere"
    absolute = PointingGame(sign="absolute").measure(trial(MODEL, X, maps, BOX)).value
    assert absolute[1].item() == pytest.approx(30 / 384)


def test_no_context_to_point_at():
    given = trial(MODEL, X, noise(40, 16, 24), BOX, context=torch.zeros_like(TILE))
    assert PointingGame(within="context").measure(given).value.isnan().all()


@pytest.mark.slow
def test_quantus():
    quantus = pytest.importorskip("quantus")
    peer = quantus.PointingGame(abs=False, normalise=False, disable_warnings=True)
    maps = noise(40, 16, 24)
    inside = np.zeros((40, 1, 16, 24), dtype=bool)
    inside[:, :, 4:9, 6:12] = True
    expected = peer(
        model=torch.nn.Identity(),
        x_batch=X.numpy(),
        y_batch=np.ones(40, dtype=int),
        a_batch=maps[:, None].numpy(),
        s_batch=inside,
        channel_first=True,
    )
    found = PointingGame().measure(trial(MODEL, X, maps, BOX)).value
    assert found.tolist() == [float(hit) for hit in expected]

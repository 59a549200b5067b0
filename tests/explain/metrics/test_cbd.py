import pytest
import torch

from conceptseg.explain.metrics.cbd import ContextBiasDetection
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import additive, contributions, noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)
BOX = Target(1, Box(4, 6, 9, 12))
TILE = torch.zeros(2, 16, 24, dtype=torch.bool)
TILE[:, 8:] = True


@pytest.mark.parametrize("scaling", ["max", "minmax", "none"])
def test_loops(scaling):
    maps = noise(2, 16, 24)
    found = ContextBiasDetection(scaling=scaling).measure(trial(MODEL, X, maps, BOX, context=TILE))
    for i in range(2):
        salient, count = 0.0, 0
        for y in range(16):
            for x in range(24):
                if not (4 <= y < 9 and 6 <= x < 12):
                    value = max(maps[i, y, x].item(), 0.0)
                    salient += min(value, 1) if scaling == "none" else value / maps[i].max().item()
                    count += 1
        assert found.value[i].item() == pytest.approx(salient / count, abs=1e-6)


def test_grid_saliency_s_own_mask():
    """Half of the surroundings fully salient, the object not: CBD is that half."""
    maps = TILE.float()
    maps[:, 4:9, 6:12] = 0
    given = trial(MODEL, X, maps, BOX, context=TILE)
    expected = (8 * 24 - 6) / (16 * 24 - 30)
    for scaling in ("max", "minmax", "none"):
        found = ContextBiasDetection(scaling=scaling).measure(given).value
        assert found.tolist() == pytest.approx([expected] * 2)
    faint = trial(MODEL, X, maps / 100, BOX, context=TILE)
    assert ContextBiasDetection(scaling="none").measure(faint).value.tolist() == pytest.approx(
        [expected / 100] * 2
    )


def test_a_biased_network_scores_higher_than_one_without_bias():
    """Additive networks, one of which reads the tile and one the object alone; their true maps."""
    values = []
    for biased in (True, False):
        model, x = additive(16, 24), images(2, channels=1)
        with torch.no_grad():
            weight = model.module.weight
            weight.zero_()
            weight[:, 4:9, 6:12] = 1
            weight[:, 9:] = 1.0 if biased else 0.0
        own = contributions(model, x)
        given = trial(model, x, own, BOX, context=TILE)
        values.append(ContextBiasDetection().measure(given).value)
    assert values[0].min() > 0.1
    assert values[1].eq(0).all()


def test_undefined_without_surroundings():
    given = trial(MODEL, X, noise(2, 16, 24), Target(1, Everything()), context=TILE)
    assert ContextBiasDetection().measure(given).value.isnan().all()

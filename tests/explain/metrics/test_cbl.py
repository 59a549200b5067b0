import pytest
import torch

from conceptseg.explain.metrics.cbl import ContextBiasLocalisation
from conceptseg.explain.regions import Box
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import additive, contributions, noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)
BOX = Target(1, Box(4, 6, 9, 12))
TILE = torch.zeros(2, 16, 24, dtype=torch.bool)
TILE[:, 8:] = True


@pytest.mark.parametrize("sign", ["positive", "absolute"])
def test_loops(sign):
    maps = noise(2, 16, 24)
    found = ContextBiasLocalisation(sign=sign).measure(trial(MODEL, X, maps, BOX, context=TILE))
    for i in range(2):
        on_tile = outside = 0.0
        for y in range(16):
            for x in range(24):
                if not (4 <= y < 9 and 6 <= x < 12):
                    value = maps[i, y, x].item()
                    value = abs(value) if sign == "absolute" else max(value, 0.0)
                    outside += value
                    on_tile += value * (y >= 8)
        assert found.value[i].item() == pytest.approx(on_tile / outside, abs=1e-6)


def test_planted_and_chance():
    """On the tile 1, on the other tile 0, everywhere the tile's share of the surroundings."""
    chance = (8 * 24 - 6) / (16 * 24 - 30)
    cases = ((TILE.float(), 1.0), ((~TILE).float(), 0.0), (torch.ones(2, 16, 24), chance))
    for maps, expected in cases:
        found = ContextBiasLocalisation().measure(trial(MODEL, X, maps, BOX, context=TILE))
        assert found.value.tolist() == pytest.approx([expected] * 2)


def test_the_true_map_of_a_biased_network():
    model, x = additive(16, 24), images(2, channels=1)
    with torch.no_grad():
        model.module.weight.zero_()
        model.module.weight[:, 4:9, 6:12] = 1
        model.module.weight[:, 9:] = 1
    own = contributions(model, x)
    for tile, expected in ((TILE, 1.0), (~TILE, 0.0)):
        found = ContextBiasLocalisation().measure(trial(model, x, own, BOX, context=tile))
        assert found.value.tolist() == [expected] * 2


def test_undefined_without_mass_outside():
    maps = torch.zeros(2, 16, 24)
    maps[:, 5, 7] = 1
    maps[1, 0, 0] = 1
    found = ContextBiasLocalisation().measure(trial(MODEL, X, maps, BOX, context=TILE)).value
    assert found[0].isnan() and found[1] == 0

import pytest
import torch

from conceptseg.explain.metrics.image_preserved import ImagePreserved
from tests.explain.metrics.judging import noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)


def test_by_hand():
    maps = noise(2, 16, 24)
    soft = ImagePreserved().measure(trial(MODEL, X, maps)).value
    binary = ImagePreserved(mode="binary", threshold=0.25).measure(trial(MODEL, X, maps)).value
    for i in range(2):
        values = [max(v, 0.0) / maps[i].max().item() for v in maps[i].flatten().tolist()]
        assert soft[i].item() == pytest.approx(sum(values) / len(values), abs=1e-6)
        kept = sum(v >= 0.25 for v in values)
        assert binary[i].item() == pytest.approx(kept / len(values))


def test_closed_forms():
    """All, half and nothing of the image; soft and binary agree where the map is 0 or 1."""
    half = torch.zeros(2, 16, 24)
    half[:, :8] = 1
    for maps, expected in ((half + 1 - half, 1.0), (half, 0.5), (half * 0, 0.0)):
        for mode in ("soft", "binary"):
            found = ImagePreserved(mode=mode).measure(trial(MODEL, X, maps))
            assert found.value.tolist() == [expected] * 2


def test_the_scaling_decides_how_a_lifted_map_counts():
    maps = torch.rand(2, 16, 24, generator=torch.Generator().manual_seed(0)) + 3
    values = {
        how: ImagePreserved(scaling=how).measure(trial(MODEL, X, maps)).value.mean().item()
        for how in ("minmax", "max", "rank", "none")
    }
    assert values["minmax"] == pytest.approx(0.5, abs=0.05)
    assert values["max"] == pytest.approx(3.5 / 4, abs=0.01)
    assert values["rank"] == pytest.approx(0.5, abs=1e-4)
    assert values["none"] == 1.0


def test_no_pass_but_the_clean_one():
    given = trial(MODEL, X, noise(2, 16, 24))
    ImagePreserved().measure(given)
    assert given.scene.passes == {"forward": 2}

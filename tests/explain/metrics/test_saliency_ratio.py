import pytest
import torch

from conceptseg.explain.metrics.saliency_ratio import SaliencyRatio
from conceptseg.explain.regions import Box, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)


def test_by_counting():
    maps = noise(2, 16, 24)
    found = SaliencyRatio(thresholds=(0.0, 0.3, 0.7, 1.0)).measure(trial(MODEL, X, maps))
    assert found.at == (0.0, 0.1, 0.3, 0.7, 1.0)
    prediction = Scene(MODEL, X).logits.argmax(1)
    for i in range(2):
        strong = maps[i].clamp(min=0).flatten().tolist()
        area = (prediction[i] == 1).sum().item()
        for t, value in zip(found.at, found.curve[i].tolist(), strict=True):
            salient = sum(v / max(strong) >= t - 1e-9 for v in strong)
            assert value == pytest.approx(salient / area)
    assert torch.equal(found.value, found.curve[:, 1])
    assert found.curve.diff(dim=1).max() <= 0, "it falls in t"


def test_closed_forms():
    """All of the image; the prediction itself; nothing."""
    prediction = Scene(MODEL, X).logits.argmax(1) == 1
    area = prediction.sum((1, 2))
    for maps, expected in (
        (torch.ones(2, 16, 24), 16 * 24 / area),
        (prediction.float(), torch.ones(2)),
        (torch.zeros(2, 16, 24), torch.zeros(2)),
    ):
        assert torch.allclose(SaliencyRatio().measure(trial(MODEL, X, maps)).value, expected)


def test_the_area_is_that_of_the_region():
    target = Target(1, Predicted(1) & Box(0, 0, 16, 9))
    found = SaliencyRatio().measure(trial(MODEL, X, torch.ones(2, 16, 24), target))
    area = (Scene(MODEL, X).logits.argmax(1) == 1)[:, :, :9].sum((1, 2))
    assert torch.allclose(found.value, 16 * 24 / area)
    box = trial(MODEL, X, torch.ones(2, 16, 24), Target(1, Box(0, 0, 16, 9)))
    assert torch.allclose(SaliencyRatio().measure(box).value, 16 * 24 / area), "of the class alone"


def test_undefined_where_the_region_is_not_of_the_class():
    given = trial(MODEL, X, noise(2, 16, 24), Target(1, ~Predicted(1)))
    assert SaliencyRatio().measure(given).value.isnan().all()


def test_no_pass_but_the_clean_one():
    given = trial(MODEL, X, noise(2, 16, 24))
    SaliencyRatio().measure(given)
    assert given.scene.passes == {"forward": 2}

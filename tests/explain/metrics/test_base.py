import math

import numpy as np
import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.contract import Trial
from conceptseg.explain.metrics._base import (
    Reference,
    blended,
    correlation,
    dice,
    dilated,
    ranks,
    scaled,
    share,
)
from conceptseg.explain.metrics.cbl import ContextBiasLocalisation
from conceptseg.explain.metrics.image_preserved import ImagePreserved
from conceptseg.explain.metrics.pointing_game import PointingGame
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, pointwise, trial
from tests.small_models import images

MAPS = noise(3, 5, 7).relu() * torch.tensor([1.0, 1e-30, 1e30])[:, None, None]


def test_scaling_by_loops():
    for how in ("minmax", "max", "rank", "none"):
        found = scaled(MAPS, how)
        for i, one in enumerate(MAPS):
            values = one.flatten().double().tolist()
            low, high = min(values), max(values)
            expected = {
                "minmax": [(v - low) / (high - low) for v in values],
                "max": [v / high for v in values],
                "rank": [sum(u < v for u in values) / (len(values) - 1) for v in values],
                "none": [min(v, 1.0) for v in values],
            }[how]
            assert found[i].flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_scaling_of_constant_maps():
    constant = torch.full((1, 3, 4), 0.3)
    for how, expected in {"minmax": 1.0, "max": 1.0, "rank": 0.0, "none": 0.3}.items():
        assert scaled(constant, how).eq(expected).all()
        assert scaled(torch.zeros(2, 3, 4), how).eq(0).all()
    lifted = MAPS[:1] + 2
    assert scaled(lifted, "minmax").min() == 0 and scaled(lifted, "minmax").max() == 1
    assert scaled(lifted, "max").min() > 0.3


def test_dice_by_counting():
    first, second = noise(4, 6, 5) > 0, noise(4, 6, 5, seed=1) > 0
    first[3] = second[3] = False
    found = dice(first, second)
    for i in range(3):
        both = {tuple(at) for at in first[i].nonzero().tolist()}
        other = {tuple(at) for at in second[i].nonzero().tolist()}
        assert found[i].item() == pytest.approx(2 * len(both & other) / (len(both) + len(other)))
    assert found[3].isnan()


@pytest.mark.parametrize("radius", [0, 0.9, 1, 1.5, 2, 2.9, 5, 40])
def test_dilation_by_distances(radius):
    mask = noise(3, 9, 13) > 1.6
    mask[2] = False
    expected = torch.zeros_like(mask)
    for i, y, x in mask.nonzero().tolist():
        for v in range(9):
            for u in range(13):
                expected[i, v, u] |= math.hypot(v - y, u - x) <= radius
    assert 0 < mask[:2].sum() < mask[:2].numel()
    assert torch.equal(dilated(mask, radius), expected)


def test_ranks_are_scipy_s():
    from scipy.stats import rankdata

    rows = noise(3, 50).round(decimals=1)
    assert np.array_equal(ranks(rows).numpy(), rankdata(rows.numpy(), axis=1) - 1)


def test_correlation_is_numpy_s_at_any_scale():
    first, second = noise(3, 50), noise(3, 50, seed=1) + noise(3, 50)
    for factor in (1.0, 1e-30, 1e30):
        found = correlation(first * factor, second)
        for i in range(3):
            expected = np.corrcoef(first[i].double().numpy(), second[i].double().numpy())[0, 1]
            assert found[i].item() == pytest.approx(expected, abs=1e-6)
    assert correlation(first, -first).tolist() == pytest.approx([-1.0] * 3)
    assert correlation(torch.full((2, 9), 0.1), noise(2, 9)).isnan().all()


def test_share_of_nothing_is_undefined():
    found = share(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0]))
    assert found[0] == 0.25 and found[1].isnan()


def test_blending():
    x, hidden, mask = images(2, 4, 5), torch.zeros(2, 3, 4, 5) + 0.5, noise(2, 3, 4, 5) > 0
    hard = blended(x, hidden, mask)
    assert hard.shape == (2, 3, 3, 4, 5)
    for i, r, y, u in np.ndindex(2, 3, 4, 5):
        source = x if mask[i, r, y, u] else hidden
        assert torch.equal(hard[i, r, :, y, u], source[i, :, y, u])
    assert torch.equal(blended(x, hidden, mask.float()), hard)
    half = blended(x, hidden, torch.full((2, 1, 4, 5), 0.5))
    assert torch.allclose(half[:, 0], (x + 0.5) / 2)


def test_other_objects_of_the_class_do_not_count():
    """Keeping the box alone is as good as keeping everything; losing it is as bad as possible."""
    model, x = pointwise(), images(1, 12, 16)
    scene, box = Scene(model, x), Box(0, 0, 12, 8)
    region = scene.fix(Target(1, Predicted(1) & box))
    reference = Reference.of(scene, region)
    for keep, expected in ((slice(0, 8), 1.0), (slice(8, 16), 0.0)):
        variant = torch.full_like(scene.logits, -9.0)
        variant[:, 0] = 0.0
        variant[:, :, :, keep] = scene.logits[:, :, :, keep]
        assert reference.dice(variant).item() == expected
    assert reference.dice(scene.logits).item() == 1.0


def test_a_class_predicted_nowhere_in_the_region_has_no_overlap():
    model, x = pointwise(), images(1, 12, 16)
    scene = Scene(model, x)
    region = scene.fix(Target(1, ~Predicted(1)))
    assert Reference.of(scene, region).dice(scene.logits).isnan().all()


def test_an_empty_batch_has_no_numbers():
    model, x = pointwise(), images(2, 8, 8)
    found = ImagePreserved().measure(trial(model, x[:0], torch.zeros(0, 8, 8)))
    assert found.value.shape == (0,)


@pytest.mark.parametrize(
    ("maps", "context", "message"),
    [
        (
            torch.zeros(2, 8, 9),
            None,
            r"attributions of shape \[2, 8, 9\] for images of \[2, 8, 8\]",
        ),
        (torch.full((2, 8, 8), math.nan), None, "attributions are not finite"),
        (torch.zeros(2, 8, 8), torch.zeros(1, 8, 8) > 0, r"context of shape \[1, 8, 8\]"),
        (torch.zeros(2, 8, 8), torch.zeros(2, 8, 8), "context holds booleans, got torch.float32"),
        (torch.zeros(2, 8, 8), None, "metric 'cbl' needs the surroundings .* Trial.context"),
    ],
)
def test_what_cannot_be_judged(maps, context, message):
    given = trial(pointwise(), images(2, 8, 8), maps, Target(1, Everything()), context=context)
    with pytest.raises(InputError, match=message):
        ContextBiasLocalisation().measure(given)


def test_asking_for_a_context_that_is_not_known():
    given: Trial = trial(pointwise(), images(2, 8, 8))
    with pytest.raises(InputError, match="metric 'pointing_game' needs the surroundings"):
        PointingGame(within="context").measure(given)

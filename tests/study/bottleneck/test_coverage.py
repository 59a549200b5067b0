"""The intervals of images under study: calibrated without them, and covering as promised."""

import numpy as np
import pytest

from conceptseg.study.bottleneck.conformal import (
    Slicing,
    calibrated,
    left_out_intervals,
    quality_ends,
)
from conceptseg.study.bottleneck.regress import (
    Features,
    Search,
    crossed,
    from_log_odds,
    log_odds,
)

RIDGE = Search(("ridge",), inner=2, components=3, seed=0)


def test_intervals_of_the_images_under_study_cover_as_promised():
    """Synthetic quality, ten draws of 100 images: 90 % of 1000 intervals hold, give or take."""
    inside = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(100, 3))
        quality = from_log_odds(0.5 * rows[:, 0] + 0.8 * rng.normal(size=100))
        features, groups = Features(rows, 3), np.arange(100)
        fitted = crossed(RIDGE, features, quality, groups, 5, 1)
        nothing = np.zeros(100, int)
        low, high = left_out_intervals(
            RIDGE, fitted.folds, features, quality, nothing, groups, groups, alpha=0.1
        )
        inside.append(((quality >= low) & (quality <= high)).mean())
    assert 0.87 <= np.mean(inside) <= 0.94


def test_calibration_keeps_the_residuals_of_models_that_saw_nothing_of_the_row():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3))
    quality = from_log_odds(rows[:, 0] + rng.normal(size=40))
    features, groups = Features(rows, 3), np.arange(40) // 2
    fitted = crossed(RIDGE, features, quality, groups, 4, 1)
    kept = calibrated(fitted.folds, features, quality, np.zeros(40, int), groups)
    predicted = log_odds(fitted.predicted[0])
    np.testing.assert_allclose(kept.residual, np.abs(log_odds(quality) - predicted), atol=1e-9)
    for number, fold in enumerate(fitted.folds):
        assert set(np.flatnonzero(kept.fold == number)) == set(fold.held)


def test_ends_beyond_the_clip_are_the_ends_of_quality():
    low, high = quality_ends(np.array([-np.inf, -5.0, 0.0]), np.array([np.inf, 0.0, 5.0]))
    assert low.tolist() == [0.0, 0.0, 0.5] and high.tolist() == [1.0, 0.5, 1.0]


def test_slices_are_thirds_and_equal_values_stay_together():
    slicing = Slicing.of(np.arange(9.0), "size")
    assert slicing(np.arange(9.0)).tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert len(slicing.names()) == 3 and slicing.names()[0].startswith("size below")
    same = Slicing.of(np.ones(9), "size")
    assert same.edges == () and same(np.array([0.0, 5.0])).tolist() == [0, 0]
    assert same.names() == ("all images",)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_new_value_beyond_the_known_has_a_slice(value):
    assert Slicing("size", (0.2, 0.6))(np.array([value]))[0] == (0 if value == 0 else 2)

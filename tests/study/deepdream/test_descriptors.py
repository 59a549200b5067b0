"""Descriptors of pictures for which each is known."""

import numpy as np
import pytest

from conceptseg.study.deepdream.descriptors import NAMES, around, border, describe

H, W = 32, 40


def square(top=8, left=10, side=12):
    mask = np.zeros((H, W), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def told(image, region=None, prediction=None, class_id=1, start=None):
    region = square() if region is None else region
    prediction = region.astype(int) if prediction is None else prediction
    values = describe(image, region, prediction, class_id, 0, start)
    return dict(zip(NAMES, values, strict=True))


def test_a_bright_square_on_dark_ground():
    image = np.full((1, H, W), 0.25)
    image[:, square()] = 0.75
    found = told(image)
    assert found["mean"] == pytest.approx(0.75) and found["deviation"] == pytest.approx(0)
    assert found["against_ring"] == pytest.approx(0.5)
    assert found["rest_mean"] == found["ring_mean"] == 0.25
    assert found["homogeneity"] == 1 and found["dissimilarity"] == 0
    assert np.isnan(found["frequency"]) and np.isnan(found["saturation"])
    assert found["edge"] > 0.1 > found["rest_deviation"]
    assert found["area"] == pytest.approx(144 / (H * W))
    assert found["eccentricity"] == pytest.approx(0, abs=1e-6)
    assert found["solidity"] == pytest.approx(1) and found["other_classes"] == 0


@pytest.mark.parametrize("period", [4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_have_their_frequency_and_direction(period, axis):
    place = np.indices((H, W))[axis]
    image = (0.5 + 0.25 * np.sin(2 * np.pi * place / period))[None]
    region = square(0, 0, 32)
    found = told(image, region)
    assert found["frequency"] == pytest.approx(1 / period, abs=0.02)
    assert found["coherence"] == pytest.approx(1, abs=0.05)
    assert found["orientation"] == pytest.approx(1 if axis == 0 else -1, abs=0.05)
    assert found["deviation"] == pytest.approx(0.25 / np.sqrt(2), rel=0.02)


def test_colours():
    image = np.stack([np.full((H, W), v) for v in (0.8, 0.4, 0.2)])
    found = told(image)
    assert found["saturation"] == pytest.approx(0.75) and found["warmth"] == pytest.approx(0.6)


def test_co_occurrence_by_loops():
    image = np.random.default_rng(0).random((1, H, W))
    region = square()
    levels = np.minimum((image[0] * 16).astype(int), 15)
    gaps = [
        abs(levels[y, x] - levels[y + dy, x + dx])
        for y in range(H)
        for x in range(W)
        for dy, dx in ((0, 1), (1, 0))
        if y + dy < H and x + dx < W and region[y, x] and region[y + dy, x + dx]
    ]
    found = told(image)
    assert found["dissimilarity"] == pytest.approx(np.mean(gaps))
    assert found["homogeneity"] == pytest.approx(np.mean([1 / (1 + g**2) for g in gaps]))


def test_where_the_change_is():
    start = np.random.default_rng(0).random((1, H, W))
    region = square()
    moved = start.copy()
    moved[:, region] += 0.1
    assert told(moved, start=start)["change_inside"] == pytest.approx(1)
    assert told(moved, start=start)["change_near"] == pytest.approx(1)
    moved = start.copy()
    moved[:, around(region)] += 0.1
    found = told(moved, start=start)
    assert found["change_inside"] == 0 and found["change_near"] == pytest.approx(1)
    moved = start.copy()
    moved[:, ~region] += 0.1
    assert told(moved, start=start)["change_inside"] == 0
    same = told(start, start=start)
    assert same["similarity"] == pytest.approx(1) and np.isnan(same["change_inside"])


def test_ring_and_border():
    region = square()
    ring = around(region)
    assert not (ring & region).any() and ring[8, 9] and ring[8, 6] and not ring[8, 5]
    edge = border(region)
    assert edge[8, 10] and edge[7, 10] and not edge[10, 12] and not edge[6, 10]


def test_an_empty_prediction_has_no_shape():
    found = told(np.zeros((1, H, W)), prediction=np.zeros((H, W), int))
    assert found["area"] == 0 and np.isnan(found["solidity"]) and np.isnan(found["compactness"])

"""What a map keeps, by loops; the whole of it is tried in the study's own test."""

import numpy as np
import pytest

from conceptseg.study.bottleneck import maps


def test_shared_neighbours_by_loops():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    kept = []
    for i in range(12):
        near = []
        for points in (one, other):
            far = [np.linalg.norm(points[i] - point) for point in points]
            near.append(set(np.argsort(far)[1:4].tolist()))
        kept.append(len(near[0] & near[1]) / 3)
    assert maps.shared_neighbours(one, other, k=3) == pytest.approx(np.mean(kept))
    assert maps.shared_neighbours(one, one * 2, k=3) == 1.0


def test_a_map_that_keeps_everything_is_perfect():
    rows = np.random.default_rng(0).normal(size=(50, 2))
    told = maps.faithfulness(rows, 3 * rows)
    assert told == {"trustworthiness": 1.0, "continuity": 1.0, "neighbours_kept": 1.0}
    mixed = maps.faithfulness(rows, np.random.default_rng(1).permutation(rows))
    assert mixed["trustworthiness"] < 0.7


def test_few_images_are_shown_by_pca_alone():
    rows = np.random.default_rng(0).normal(size=(20, 6))
    found = maps.maps(rows, [0, 1])
    assert set(found) == {"PCA"} and found["PCA"].shape == (1, 20, 2)
    scaled = (rows - rows.mean(0)) / rows.std(0)
    values = np.linalg.eigvalsh(scaled.T @ scaled)[::-1][:2]
    np.testing.assert_allclose((found["PCA"][0].astype(float) ** 2).sum(0), values, rtol=1e-5)

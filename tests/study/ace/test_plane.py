"""The map of segments: neighbours stay so, and the process beside gives what a call gives."""

import numpy as np
import pytest

from conceptseg.engine.beside import Beside
from conceptseg.study.ace.plane import embed


def islands(per_island, seed=0):
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(4, 12)
    return np.repeat(centres, per_island, axis=0) + 0.1 * rng.normal(size=(4 * per_island, 12))


def test_few_rows_are_projected():
    rows = islands(5)
    points = embed(rows, 0)
    scaled = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scaled = scaled - scaled.mean(0)
    _, values, _ = np.linalg.svd(scaled, full_matrices=False)
    assert points.shape == (20, 2) and points.dtype == np.float32
    assert np.allclose((points**2).sum(0), values[:2] ** 2, rtol=1e-4)


@pytest.mark.slow
def test_islands_stay_apart_and_the_process_beside_agrees():
    rows = islands(20)
    beside = Beside("conceptseg.study.ace.plane", "3").give(rows)
    points = embed(rows, 3)
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distance, np.inf)
    island = np.arange(80) // 20
    assert (island[distance.argmin(1)] == island).all()
    assert np.array_equal(beside.result()["points"], points)

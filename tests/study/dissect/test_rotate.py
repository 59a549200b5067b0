"""Rotations of a basis of units: powers, evenness, and what they do to planted detectors."""

import numpy as np
import pytest

from conceptseg.study.dissect.permute import SIDE
from conceptseg.study.dissect.rotate import haar, power, rotated
from tests.study.dissect.small import kept, vocabulary

WORDS = vocabulary(3, 1)


def test_a_power_of_a_rotation_goes_a_part_of_the_way():
    turn = haar(9, np.random.default_rng(0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(9), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    half = power(turn, 0.5)
    np.testing.assert_allclose(half @ half, turn, atol=1e-10)
    np.testing.assert_allclose(half @ half.T, np.eye(9), atol=1e-10)
    np.testing.assert_allclose(power(turn, 0.0), np.eye(9), atol=1e-10)


def test_rotations_are_spread_evenly():
    """Of a Haar rotation any entry has mean 0 and variance 1 / size."""
    entries = np.array([haar(5, np.random.default_rng(seed))[0, 1] for seed in range(2000)])
    assert abs(entries.mean()) < 0.03
    assert entries.var() == pytest.approx(0.2, rel=0.1)


def test_rotating_a_basis_that_is_planted_loses_detectors():
    """Each unit is one of four concepts; mixtures of all units are none."""
    rng = np.random.default_rng(3)
    coarse = np.stack([rng.integers(0, 3, (16, 8, 8)), rng.integers(0, 2, (16, 8, 8))], 1)
    slots = coarse.repeat(4, 2).repeat(4, 3).astype(np.int16)
    own = [(slots[:, 0] == c).astype(float) for c in range(3)] + [(slots[:, 1] == 0) * 1.0]
    maps = np.stack(own * 4, 1) + 0.05 * rng.normal(size=(16, 16, SIDE, SIDE))
    images = kept(maps, slots, WORDS, [0, 1] * 8)
    found = rotated(images, np.arange(4), (0.1, 0.3, 0.5), 2, min_overlap=0.3, seed=0)
    unique = {row["angle"]: row["unique"] for row in found}
    detectors = {row["angle"]: row["detectors"] for row in found}
    assert unique[0.0] == 4 and detectors[0.0] == 16
    assert detectors[1.0] < detectors[0.0]

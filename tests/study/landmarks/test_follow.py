"""Reach and anisotropy of maps that are known, and the null of the turned structure."""

import numpy as np
import pytest
import torch

from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.regions import UserMask
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from conceptseg.study.landmarks.follow import anisotropy, reaches
from tests.study.landmarks.tubes import CLASSES, Along, painted, tube

FLAT = [((32, 4), (32, 60))]
TALL = [((4, 32), (60, 32))]


def test_reach_is_the_mass_of_discs():
    values = np.random.default_rng(0).random((21, 31))
    rows, columns = np.mgrid[:21, :31]
    away = np.hypot(rows - 10, columns - 12)
    got = reaches(values, 10, 12, np.array([0.5, 3, 8, 99]))
    expected = [values[away <= r].sum() / values.sum() for r in (0.5, 3, 8, 99)]
    np.testing.assert_allclose(got, expected)
    assert got[-1] == pytest.approx(1) and np.isnan(reaches(0 * values, 1, 1, np.ones(2))).all()


@pytest.mark.parametrize("times", [0.25, 1.0, 2.0, 8.0])
def test_a_map_of_two_values_has_their_ratio(times):
    """`times` as much on the structure as beside it: log2 of it, as turned it lies beside."""
    structure = tube(65, FLAT, 2)
    structure[32, 32] = True
    values = np.where(structure, times, 1.0)
    # Turned by less than a half turn, part of the line still lies on itself near its middle.
    ratio, share = anisotropy(values, structure, 32, 32, 8, 20, 36)
    assert ratio == pytest.approx(np.log2(times), abs=0.25)
    assert (share < 0.1) == (times > 1)


def test_a_map_of_the_distance_alone_follows_nothing():
    rows, columns = np.mgrid[:65, :65]
    values = np.exp(-np.hypot(rows - 32, columns - 32) / 6)
    ratio, _ = anisotropy(values, tube(65, FLAT, 2), 32, 32, 3, 20, 36)
    assert abs(ratio) < 0.05


def test_of_noise_the_share_is_a_p_value():
    structure, shares = tube(65, FLAT, 1.5), []
    for seed in range(300):
        values = np.random.default_rng(seed).random((65, 65))
        shares.append(anisotropy(values, structure, 32, 32, 3, 20, 36)[1])
    shares = np.array(shares)
    for level in (0.05, 0.1, 0.25, 0.5):
        assert (shares <= level).mean() <= level + 2 * np.sqrt(level * (1 - level) / 300)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_too_little_structure_says_nothing():
    structure = np.zeros((65, 65), bool)
    structure[32, 30:38] = True
    assert np.isnan(anisotropy(np.ones((65, 65)), structure, 32, 32, 3, 20, 36)).all()
    assert np.isnan(anisotropy(np.zeros((65, 65)), tube(65, FLAT, 2), 32, 32, 3, 20, 36)).all()


def maps(net, lines):
    """The gradient's map of the middle of a tube."""
    model = SegmentationModel(net, CLASSES, channels=1)
    region = tube(64, lines, 1.5)
    window = torch.zeros(64, 64, dtype=torch.bool)
    window[31:34, 31:34] = True
    image = torch.from_numpy(painted(region, 0))[None]
    return np.abs(VanillaSaliency()(model, image, Target(1, UserMask(window)))[0].numpy()), region


def test_a_network_that_reads_along_rows_follows_flat_tubes_alone():
    flat, tall = (anisotropy(*maps(Along(8), lines), 32, 32, 2, 8, 36)[0] for lines in (FLAT, TALL))
    assert flat > 1.5 and tall < -1
    turned = anisotropy(*maps(Along(8, down=True), TALL), 32, 32, 2, 8, 36)[0]
    assert turned == pytest.approx(flat, abs=0.2)


def test_beyond_the_receptive_field_there_is_nothing():
    values, _ = maps(Along(6), FLAT)
    # The window's corner lies sqrt 2 from its middle, and from it the row goes on for six pixels.
    shares = reaches(values, 32, 32, np.array([6.0, np.hypot(7, 1)]))
    assert shares[0] < 1 and shares[1] == pytest.approx(1, abs=1e-7)

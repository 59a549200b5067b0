"""Graphs of tubes that are known."""

from collections import Counter

import numpy as np
import pytest

from conceptseg.study.landmarks.skeleton import graph
from tests.study.landmarks.tubes import tube


def ray(centre, angle, length):
    turn = np.deg2rad(angle)
    return centre, (centre[0] + length * np.sin(turn), centre[1] + length * np.cos(turn))


@pytest.mark.parametrize("radius", [1.5, 3.0, 5.0])
@pytest.mark.parametrize("turned", [0, 17, 60, 90])
def test_a_y_has_one_fork_three_ends_and_its_radius(radius, turned):
    centre = (48, 48)
    region = tube(96, [ray(centre, turned + a, 32) for a in (0, 120, 240)], radius)
    found = graph(region, 20, 3)
    assert Counter(one.degree for one in found.nodes) == {1: 3, 3: 1, 2: 3}
    fork = next(one for one in found.nodes if one.degree == 3)
    assert np.hypot(fork.y - 48, fork.x - 48) <= 2 + radius / 2
    ends = sorted((one.y, one.x) for one in found.nodes if one.degree == 1)
    for _, tip in (ray(centre, turned + a, 32) for a in (0, 120, 240)):
        assert min(np.hypot(y - tip[0], x - tip[1]) for y, x in ends) <= radius + 2
    for one in found.nodes:
        if one.degree == 2:
            assert one.thickness == pytest.approx(2 * radius, abs=1.2)


@pytest.mark.parametrize("radius", [1.5, 3.0])
@pytest.mark.parametrize("angle", [90, 60, 45])
def test_a_crossing_is_one_node_of_four(radius, angle):
    centre = (40, 40)
    region = tube(80, [ray(centre, a, 28) for a in (10, 190, 10 + angle, 190 + angle)], radius)
    found = [one.degree for one in graph(region, 20, 3).nodes]
    assert Counter(found) == {1: 4, 4: 1, 2: 4}


def test_a_tube_through_the_frame_has_no_end_there():
    region = tube(64, [((20, -10), (20, 80))], 2)
    assert Counter(one.degree for one in graph(region, 20, 3).nodes) == {2: 1}
    half = tube(64, [((20, -10), (20, 40))], 2)
    assert Counter(one.degree for one in graph(half, 20, 3).nodes) == {1: 1, 2: 1}


def test_bumps_make_no_forks():
    rng = np.random.default_rng(0)
    region = tube(96, [((48, 18), (48, 78))], 4)
    rough = region.copy()
    for x in rng.integers(22, 74, 8):
        rough |= tube(96, [((44, x), (42.5, x))], 1)
    found = graph(rough, 20, 3)
    assert not [one for one in found.nodes if one.degree > 2]
    assert Counter(one.degree for one in found.nodes)[1] == 2


def test_a_ring_has_no_ends_and_a_blob_nothing():
    rows, columns = np.mgrid[:64, :64]
    away = np.hypot(rows - 32, columns - 32)
    ring = graph((away > 16) & (away < 21), 20, 3)
    assert [one.degree for one in ring.nodes] == [2]
    assert graph(away < 12, 30, 3).nodes == ()
    assert (
        graph(np.zeros((9, 9), bool), 9, 3).nodes == graph(np.ones((9, 9), bool), 9, 3).nodes == ()
    )


def test_what_is_thick_has_no_landmarks():
    region = tube(96, [((30, 8), (30, 88))], 2) | tube(96, [((70, 8), (70, 88))], 10)
    assert {one.y < 50 for one in graph(region, 8, 2).nodes} == {True}
    assert {one.y < 50 for one in graph(region, 40, 2).nodes} == {True, False}

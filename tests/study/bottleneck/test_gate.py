"""The gate's distances by loops, and how many images it turns away."""

import numpy as np
import pytest

from conceptseg.study.bottleneck.gate import NEIGHBOURS, Gate, Gates, Space, share


def test_components_are_white():
    rows = np.random.default_rng(0).normal(size=(200, 6)) * [1, 5, 0.1, 3, 2, 1]
    rows = np.c_[rows, rows[:, 0]]  # a column that adds nothing
    points = Space.of(rows).points(rows)
    np.testing.assert_allclose(points.T @ points / 200, np.eye(6), atol=1e-9)


def test_the_far_distance_is_that_of_mahalanobis():
    rng = np.random.default_rng(4)
    rows, new = (
        rng.normal(size=(300, 5)) @ (np.eye(5) + 0.2 * rng.normal(size=(5, 5))),
        rng.normal(size=(7, 5)),
    )
    inverse = np.linalg.inv(np.cov(rows.T, bias=True))
    away = new - rows.mean(0)
    expected = np.sqrt(np.einsum("mi,ij,mj->m", away, inverse, away))
    np.testing.assert_allclose(Space.of(rows).far(new), expected, rtol=1e-6)


def test_what_components_do_not_hold_counts_by_its_mean_variance():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 40)) @ np.diag(np.linspace(3, 0.5, 40))
    space = Space.of(rows)
    scaled = (rows - rows.mean(0)) / rows.std(0)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / 60)
    rest = values[:10].mean()
    covariance = vectors @ np.diag(np.where(np.arange(40) < 10, rest, values)) @ vectors.T
    new = rng.normal(size=(3, 40))
    away = (new - rows.mean(0)) / rows.std(0)
    expected = np.sqrt(np.einsum("mi,ij,mj->m", away, np.linalg.inv(covariance), away))
    np.testing.assert_allclose(space.far(new), expected, rtol=1e-8)


def test_near_distances_are_those_of_loops():
    rng = np.random.default_rng(1)
    rows, new = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    gate = Gate.of(rows, np.arange(40), 0.1)
    points = gate.space.points(new)
    far = gate.space.far(new) / gate.limits[1]
    for i, found in enumerate(gate.distance(new)):
        each = sorted(np.linalg.norm(gate.known - points[i], axis=1))[:NEIGHBOURS]
        expected = max(np.mean(each) / gate.limits[0], far[i])
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_share_of_like_images_is_turned_away_and_all_of_another_kind():
    rng = np.random.default_rng(2)
    turned, other = [], []
    for _ in range(30):
        rows = rng.normal(size=(150, 4))
        gate = Gate.of(rows, np.arange(150), 0.1)
        turned.append((gate.distance(rng.normal(size=(100, 4))) > 1).mean())
        other.append((gate.distance(rng.normal(6, 1, size=(20, 4))) > 1).mean())
    assert 0.04 < np.mean(turned) < 0.14
    assert np.mean(other) == 1.0


def test_images_of_one_group_do_not_vouch_for_each_other():
    """Groups are tight; an image of a new group is no stranger than those known are to others."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, 3))
    rows = np.repeat(centres, 5, 0) + 1e-3 * rng.normal(size=(200, 3))
    group = np.repeat(np.arange(40), 5)
    gate = Gate.of(rows, group, 0.2)
    naive = Gate.of(rows, np.arange(200), 0.2)
    new = rng.normal(size=(100, 3))
    assert (gate.distance(new) <= 1).mean() > 0.6
    assert (naive.distance(new) <= 1).mean() < 0.1


@pytest.mark.parametrize("groups", [60, 8])
def test_few_images_still_close_the_gate(groups):
    """So few groups make no 1.25 % quantile: the largest distance is the limit then."""
    rng = np.random.default_rng(5)
    place = np.arange(60) % groups
    pooled, sure = rng.normal(size=(60, 8)), rng.normal(size=(60, 4))
    gates = Gates.of(pooled, sure, place, 0.05)
    assert (gates.distance(rng.normal(size=(20, 8)) + 40, rng.normal(size=(20, 4))) > 1).all()
    like = gates.distance(rng.normal(size=(500, 8)), rng.normal(size=(500, 4))) > 1
    assert share(groups, 0.05) == 4 / (groups + 1)
    assert like.mean() <= share(groups, 0.05)


@pytest.mark.parametrize(
    ("images", "groups", "own"),
    [(20, 20, 0), (30, 30, 0), (60, 60, 0), (60, 8, 0.7), (60, 12, 0.7)],
)
def test_gates_of_few_images_turn_away_no_more_than_they_say(images, groups, own):
    """Ten things vary and show in 60 units; `own` is how far a group shares them."""
    mixing = np.random.default_rng(9).normal(size=(10, 60))
    turned = []
    for seed in range(15):
        rng = np.random.default_rng(seed)

        def drawn(n, groups, rng=rng):
            place = np.arange(n) % groups
            hidden = rng.normal(size=(n, 10)) + own * rng.normal(size=(groups, 10))[place]
            noise = [0.3 * rng.normal(size=(n, d)) for d in (60, 12)]
            return hidden @ mixing + noise[0], hidden @ mixing[:, :12] + noise[1], place

        gates = Gates.of(*drawn(images, groups), 0.05)
        turned.append((gates.distance(*drawn(200, 200)[:2]) > 1).mean())
    assert np.mean(turned) <= share(groups, 0.05)


def test_enough_images_keep_the_share_that_was_asked_for():
    assert share(400, 0.05) == 0.05 and share(2, 0.05) == 1

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.concepts.finders.kmeans import KMeans, match, project
from conceptseg.errors import InputError
from tests.concepts.finders.blobs import blobs, jaccard


@dataclass
class Fit:
    """As much of a fitted k-means as `match` reads."""

    cluster_centers_: np.ndarray
    labels_: np.ndarray


@pytest.mark.parametrize("groups", [3, 5])
def test_the_planted_number_is_chosen(groups):
    rows, images, truth = blobs(groups)
    found = KMeans(counts=(2, 3, 4, 5, 7), draws=4, seeds=3).fit(rows, images, 0)
    assert len(found.centres) == groups
    assert [choice["concepts"] for choice in found.choices] == [2, 3, 4, 5, 7]
    best = max(found.choices, key=lambda choice: choice["stability"])
    chosen = next(c for c in found.choices if c["concepts"] == groups)
    assert chosen["stability"] >= best["stability"] - best["standard_error"]
    for group in range(groups):
        assert max(jaccard(found.members == q, truth == group) for q in range(groups)) == 1.0
    assert found.stability.max() == 1.0


def test_the_largest_number_within_one_standard_error_is_chosen():
    rows, images, _ = blobs(5, noise=0.4)
    found = KMeans(counts=(2, 4, 6, 9), draws=4, seeds=2).fit(rows, images, 1)
    best = max(found.choices, key=lambda choice: choice["stability"])
    bar = best["stability"] - best["standard_error"]
    expected = max(c["concepts"] for c in found.choices if c["stability"] >= bar)
    assert len(found.centres) == expected


def test_members_are_nearest_to_their_centre_and_distances_are_to_it():
    rows, images, _ = blobs(4, noise=0.3)
    found = KMeans(counts=(4,), draws=2, seeds=2).fit(rows, images, 0)
    points = project(rows, 0.95, 50)
    for i, point in enumerate(points):
        distance = [np.sqrt(((point - centre) ** 2).sum()) for centre in found.centres]
        assert distance[found.members[i]] == pytest.approx(min(distance), rel=1e-6)
        assert found.distances[i] == pytest.approx(distance[found.members[i]], rel=1e-9)


def test_a_concept_that_no_seed_finds_again_is_unstable():
    """Two tight blobs and a cloud cut in four: the blobs are stable, the parts of the cloud not."""
    rng = np.random.default_rng(0)
    tight, images, truth = blobs(2, of_each=80, d=6, noise=0.01)
    cloud = rng.normal(size=(400, 6))
    rows = np.concatenate([tight * 1.0, cloud]).astype(np.float32)
    where = np.concatenate([images, images.max() + 1 + np.arange(400) // 8])
    found = KMeans(counts=(6,), draws=2, seeds=5).fit(rows, where, 0)
    blob = [
        max(range(6), key=lambda q, g=g: jaccard(found.members[:160] == q, truth == g))
        for g in range(2)
    ]
    rest = [q for q in range(6) if q not in blob]
    assert found.stability[rest].min() < 0.7
    assert found.stability[blob].mean() > found.stability[rest].mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_match_by_all_permutations(seed, k):
    rng = np.random.default_rng(seed)
    one, other = (Fit(rng.normal(size=(k, 3)), rng.integers(0, k, 25)) for _ in range(2))

    def cosine(i, j):
        a, b = one.cluster_centers_[i], other.cluster_centers_[j]
        return a @ b / np.sqrt((a @ a) * (b @ b))

    best = max(
        permutations(range(k)), key=lambda order: sum(cosine(i, j) for i, j in enumerate(order))
    )
    for i, j in enumerate(best):
        a, b = one.labels_ == i, other.labels_ == j
        expected = (a & b).sum() / max((a | b).sum(), 1)
        assert match(one, other)[i] == pytest.approx(expected, abs=1e-12)


def test_a_fit_matches_itself_renamed():
    rng = np.random.default_rng(1)
    one = Fit(rng.normal(size=(5, 4)), np.arange(30) % 5)
    order = rng.permutation(5)
    other = Fit(one.cluster_centers_[order], np.argsort(order)[one.labels_])
    assert (match(one, other) == 1).all()


def test_projection_keeps_distances_between_unit_rows():
    rows = np.random.default_rng(2).normal(size=(30, 8))
    unit = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    points = project(rows, 1.0, 50)
    for i in range(30):
        for j in range(i):
            expected = np.sqrt(((unit[i] - unit[j]) ** 2).sum())
            assert np.sqrt(((points[i] - points[j]) ** 2).sum()) == pytest.approx(expected)


def test_projection_keeps_the_fewest_components_that_explain_enough():
    rows = np.random.default_rng(3).normal(size=(200, 6)) * [9, 5, 2, 1, 0.5, 0.1]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.svd(unit - unit.mean(0), compute_uv=False) ** 2
    share = np.cumsum(values) / values.sum()
    for variance in (0.5, 0.9, 0.99):
        kept = project(rows, variance, 50).shape[1]
        assert share[kept - 1] >= variance and (kept == 1 or share[kept - 2] < variance)
        assert project(rows, variance, 2).shape[1] == min(kept, 2)
        spread = (project(rows, variance, 50) ** 2).sum(0)
        assert np.allclose(spread, values[:kept])


def test_projection_forgets_length_and_survives_zeros():
    rows = np.random.default_rng(4).normal(size=(20, 5))
    scaled = rows * np.random.default_rng(5).uniform(0.1, 9, size=(20, 1))
    assert np.allclose(project(rows, 0.99, 9), project(scaled, 0.99, 9), atol=1e-12)
    assert np.isfinite(project(np.zeros((4, 3)), 0.9, 2)).all()


def test_the_sign_of_components_does_not_depend_on_the_order_of_rows():
    rows = np.random.default_rng(6).normal(size=(40, 5)) * [5, 4, 3, 2, 1]
    order = np.random.default_rng(7).permutation(40)
    assert np.allclose(project(rows, 1.0, 5)[order], project(rows[order], 1.0, 5), atol=1e-10)


def test_too_few_segments():
    with pytest.raises(InputError, match=r"19 segments are too few for 10 concepts.*counts"):
        KMeans().fit(np.ones((19, 4), np.float32), np.arange(19), 0)


def test_numbers_that_the_segments_do_not_allow_are_not_tried():
    rows, images, _ = blobs(3, of_each=10)
    found = KMeans(counts=(3, 16), draws=2, seeds=2).fit(rows, images, 0)
    assert [choice["concepts"] for choice in found.choices] == [3]

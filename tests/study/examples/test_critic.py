"""Likeness and MMD-critic against loops, all subsets, and closed forms."""

from itertools import combinations

import numpy as np
import pytest

from conceptseg.study.examples.critic import (
    Likeness,
    by_chance,
    criticisms,
    left,
    prototypes,
    witness,
)


def kernel(points, scale=1.0):
    apart = ((points[:, None] - points[None]) ** 2).sum(-1)
    return np.exp(-apart / scale)


def mmd2(k, chosen):
    """Its three double sums, written out."""
    n, m = len(k), len(chosen)
    every = sum(k[i, j] for i in range(n) for j in range(n)) / n**2
    across = sum(k[i, s] for i in range(n) for s in chosen) / (n * m)
    inner = sum(k[s, t] for s in chosen for t in chosen) / m**2
    return every - 2 * across + inner


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_prototypes_against_all_sets(scale):
    worst = 1.0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        k = kernel(rng.normal(size=(int(rng.integers(6, 13)), 3)), scale)
        for count in (1, 2, 3, 4):
            chosen = prototypes(k, count)
            assert len(set(chosen)) == count
            best = min(mmd2(k, s) for s in combinations(range(len(k)), count))
            # Without a prototype MMD^2 is the mean of the kernel.
            part = (k.mean() - mmd2(k, chosen)) / (k.mean() - best)
            worst = min(worst, part)
            assert part >= 0.98 > 1 - 1 / np.e
            assert left(k, chosen) == pytest.approx(mmd2(k, chosen), abs=1e-12)
    print(f"scale {scale}: the least part of the best fall is {worst:.3f}")


def test_no_exchange_of_one_prototype_leaves_less():
    k = kernel(np.random.default_rng(1).normal(size=(25, 2)))
    for count in (1, 3, 5):
        chosen = prototypes(k, count)
        for place in range(count):
            for i in set(range(25)) - set(chosen):
                other = [*chosen[:place], i, *chosen[place + 1 :]]
                assert mmd2(k, other) >= mmd2(k, chosen) - 1e-12


def test_two_clusters_get_a_prototype_each_and_the_third_is_the_criticism():
    rng = np.random.default_rng(0)
    centres = np.repeat([[0, 0], [3, 3], [9, 9]], [20, 15, 6], axis=0)
    k = kernel(centres + rng.normal(0, 0.1, (41, 2)))
    assert sorted(one < 20 for one in prototypes(k, 2)) == [False, True]
    assert max(criticisms(k, prototypes(k, 2), 2)) >= 35


def test_a_twin_of_a_prototype_is_no_criticism():
    """Of many objects that three stand for, each has a twin; far off is a small kind."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(60, 2))
    chosen = prototypes(kernel(points), 3)
    twins = points[chosen] + 1e-3
    k = kernel(np.concatenate((points, twins, rng.normal([4, 0], 0.3, (6, 2)))))
    assert np.argmax(np.abs(witness(k, chosen))) in (*chosen, 60, 61, 62)
    assert not set(criticisms(k, chosen, 3)) & {60, 61, 62}


def test_the_witness_of_two_points_in_closed_form():
    """Of points a and b with k(a, b) = q and the prototype a: (1 + q) / 2 - 1 at a, and at b
    (1 + q) / 2 - q."""
    q = 0.3
    k = np.array([[1, q], [q, 1.0]])
    np.testing.assert_allclose(witness(k, [0]), [(q - 1) / 2, (1 - q) / 2])


def test_criticisms_add_most_to_witness_and_determinant():
    k = kernel(np.random.default_rng(2).normal(size=(14, 3)))
    chosen = prototypes(k, 3)
    taken, weight = criticisms(k, chosen, 4), np.maximum(witness(k, chosen), 0)

    def worth(rows):
        return weight[list(rows)].sum() + np.linalg.slogdet(k[np.ix_(rows, rows)])[1]

    for size in range(1, 5):
        before = taken[: size - 1]
        rest = [i for i in range(14) if i not in (*chosen, *before)]
        assert max(rest, key=lambda i: worth([*before, i])) == taken[size - 1]


def test_likeness_is_the_weighted_mean_of_gaussians():
    rng = np.random.default_rng(3)
    blocks = {
        "embedding": rng.normal(size=(9, 4)) * [1, 5, 0.1, 0],
        "shape": rng.normal(size=(9, 3)) * [1, 100, 0.01],
        "place": rng.random((9, 2)),
        "surroundings": rng.normal(size=(9, 4)),
    }
    weights = {"embedding": 2.0, "shape": 1.0, "place": 0.5, "surroundings": 0.0}
    got = Likeness.fit(blocks, weights)(blocks, blocks)
    total = np.zeros((9, 9))
    for name, weight in weights.items():
        values = blocks[name]
        if name in ("shape", "place"):
            values = (values - values.mean(0)) / values.std(0)
        apart = np.array([[((a - b) ** 2).sum() for b in values] for a in values])
        total += weight * np.exp(-apart / np.median(apart[np.triu_indices(9, 1)]))
    np.testing.assert_allclose(got, total / 3.5, atol=1e-12)
    np.testing.assert_allclose(np.diag(got), 1)


def test_objects_that_are_all_alike_have_a_kernel_of_one():
    same = {"place": np.full((6, 2), 0.4)}
    np.testing.assert_array_equal(Likeness.fit(same, {"place": 1.0})(same, same), 1)


def test_random_sets_leave_what_the_formula_says():
    """Sets of one, drawn evenly: the mean of MMD^2 over all objects."""
    k = kernel(np.random.default_rng(4).normal(size=(8, 2)))
    found = by_chance(k, 2, 0)
    expected = np.mean([mmd2(k, [i]) for i in range(8)])
    assert found.shape == (200, 2)
    assert found[:, 0].mean() == pytest.approx(expected, abs=4 * found[:, 0].std() / 200**0.5)

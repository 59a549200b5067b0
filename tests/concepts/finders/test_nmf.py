import numpy as np
import pytest
import torch

from conceptseg.concepts.dictionary import matched
from conceptseg.concepts.finders.nmf import Nmf
from tests.concepts.finders.planted import sums


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_atoms_and_codes_are_recovered(signed, seed):
    rows, codes, atoms = sums(signed=signed, noise=0.05, seed=seed)
    learnt = Nmf().learn(rows, 8, seed)
    partner, cosine = matched(atoms, learnt.atoms)
    assert cosine.min() >= 0.95
    found = learnt.codes(torch.as_tensor(rows)).numpy()[:, partner]
    size = np.linalg.norm(atoms, axis=1)
    for k in range(8):
        assert np.corrcoef(found[:, k], codes[:, k] * size[k])[0, 1] > 0.97


@pytest.mark.parametrize(("count", "noise"), [(5, 0.3), (7, 0.3), (8, 0.2)])
def test_the_objective_is_that_of_scikit_learn(count, noise):
    """Of no more atoms than there are; of others there are many equal optima."""
    from sklearn.decomposition import NMF

    rows, _, _ = sums(signed=False, noise=noise, m=1500, seed=4)
    theirs = NMF(count, init="nndsvda", tol=1e-4, max_iter=2000).fit(rows)
    expected = theirs.reconstruction_err_**2 / (rows**2).sum()
    learnt = Nmf(tolerance=1e-6, iterations=500).learn(rows, count, 0)
    assert learnt.error(rows) == pytest.approx(expected, rel=0.01)
    assert (learnt.atoms >= 0).all()


def test_the_signed_objective_never_rises_and_beats_clusters():
    """Semi-NMF holds what k-means holds: with one code per row, and that one 1, they are equal."""
    from sklearn.cluster import KMeans

    rows, _, _ = sums(signed=True, noise=0.5, m=800, seed=5)
    errors = [Nmf(iterations=n, tolerance=1e-12).learn(rows, 6, 0).error(rows) for n in (2, 8, 60)]
    assert errors[0] >= errors[1] >= errors[2]
    clusters = KMeans(6, n_init=3, random_state=0).fit(rows).inertia_ / (rows**2).sum()
    assert errors[2] < clusters


def test_a_rounding_error_below_zero_is_not_a_sign():
    rows, _, _ = sums(signed=False, seed=6)
    rows[0, 0] = -1e-9
    assert (Nmf().learn(rows, 8, 0).atoms >= 0).all()
    rows[0, 0] = -1.0
    assert (Nmf().learn(rows, 8, 0).atoms < 0).any()


def test_more_atoms_than_the_rows_have_rank():
    rng = np.random.default_rng(7)
    rows = rng.random((200, 2)) @ rng.random((2, 10))
    learnt = Nmf().learn(rows, 6, 0)
    assert np.isfinite(learnt.atoms).all()
    assert np.allclose(np.linalg.norm(learnt.atoms, axis=1), 1)
    assert learnt.error(rows) < 1e-3


def test_constant_rows_have_one_atom_that_says_all():
    rows = np.tile(np.arange(1.0, 6.0), (50, 1))
    learnt = Nmf().learn(rows, 3, 0)
    assert learnt.error(rows) < 1e-6
    assert Nmf().learn(np.zeros((50, 4)), 3, 0).codes(torch.zeros(2, 4)).isfinite().all()

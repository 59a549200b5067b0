import numpy as np
import pytest
import torch

from conceptseg.concepts.dictionary import matched
from conceptseg.concepts.finders.batch_topk_sae import BatchTopKSae, _largest
from conceptseg.errors import InputError
from tests.concepts.finders.planted import sums


def test_planted_atoms_are_recovered():
    rows, _, atoms = sums(signed=True, noise=0.05, seed=1)
    learnt = BatchTopKSae(active=2, steps=400).learn(rows, 12, 0)
    assert matched(atoms, learnt.atoms)[1].min() >= 0.95
    assert learnt.error(rows) < 0.1


def test_atoms_stay_among_the_data():
    """A cone's archetypes lie in it, whatever would rebuild it with less error."""
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(6) * 0.3, 1500)
    atoms = BatchTopKSae(active=2, steps=200).learn(rows, 6, 0).atoms
    assert (atoms >= -1e-6).all()
    # Of these rows no direction leaves the positive cone; the mean one is inside of it as well.
    assert np.allclose(np.linalg.norm(atoms, axis=1), 1)


def test_of_a_batch_the_largest_codes_stay():
    codes = torch.tensor([[3.0, 1.0, -2.0], [0.5, 2.0, 4.0], [-1.0, -1.0, -3.0]])
    kept, least = _largest(codes, 1)
    assert kept.tolist() == [[3.0, 0, 0], [0, 2.0, 4.0], [0, 0, 0]]
    assert least == 2.0


def test_about_as_many_codes_as_asked_for_are_not_zero():
    rows, _, _ = sums(signed=True, noise=0.1, seed=2)
    learnt = BatchTopKSae(active=3, steps=300).learn(rows, 16, 0)
    codes = learnt.codes(torch.as_tensor(rows))
    assert 2 < float((codes > 0).double().sum(1).mean()) < 4
    assert (codes >= 0).all()


def test_no_more_than_four_atoms_for_each_unit():
    assert BatchTopKSae(counts=(16,)).allowed(500, 4) == (16,)
    with pytest.raises(InputError, match=r"17 atoms are more than 4 for each of the 4 units.*16"):
        BatchTopKSae(counts=(10, 17)).allowed(500, 4)


def test_atoms_of_rows_that_share_a_direction_do_not_stay_at_their_mean():
    """A layer behind a ReLU: all rows have much in common. One direction leaves a third of them."""
    rows, _, _ = sums(12, 24, 1500, signed=False, noise=0.05, seed=3)
    rows = rows + 0.5 * rows.mean(0)
    learnt = BatchTopKSae(active=4, steps=300).learn(rows, 24, 0)
    assert learnt.error(rows) < 0.2

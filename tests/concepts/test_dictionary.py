"""Dictionaries: codes, partners, and finders of them as finders of concepts."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from conceptseg import catalogue
from conceptseg.concepts.dictionary import Dictionary, matched
from conceptseg.concepts.finders.nmf import Nmf
from conceptseg.errors import InputError
from tests.concepts.finders.planted import sums

ALL = pytest.mark.parametrize("name", catalogue.names("concepts"))


def finder(name):
    return catalogue.load("concepts", name)(
        **({"steps": 300, "active": 2} if name.endswith("sae") else {})
    )


@pytest.mark.parametrize("signed", [False, True])
def test_codes_are_those_of_non_negative_least_squares(signed):
    rows, _, atoms = sums(5, 12, 40, signed=signed, noise=0.5, seed=3)
    atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = Dictionary(atoms).codes(torch.as_tensor(rows)).numpy()
    for row, code in zip(rows, codes, strict=True):
        expected, left = nnls(atoms.T, row)
        assert code == pytest.approx(expected, abs=1e-2)
        assert np.linalg.norm(code @ atoms - row) == pytest.approx(left, rel=1e-5, abs=1e-6)


@ALL
def test_a_rows_code_does_not_depend_on_those_beside_it(name):
    rows, _, _ = sums(signed=True, noise=0.2, m=400)
    learnt = finder(name).learn(rows, 8, 0)
    given = torch.as_tensor(rows)
    whole, order = learnt.codes(given), torch.randperm(len(rows))
    parts = torch.cat([learnt.codes(one) for one in given[order].split(7)])
    assert torch.allclose(whole[order], parts, atol=1e-9)
    assert torch.allclose(learnt.rebuilt(given), whole @ torch.as_tensor(learnt.atoms))


@ALL
def test_atoms_have_length_one_and_rebuild_more_than_nothing(name):
    rows, _, _ = sums(signed=False, noise=0.1, m=600)
    learnt = finder(name).learn(rows, 8, 0)
    assert np.allclose(np.linalg.norm(learnt.atoms, axis=1), 1)
    assert 0 <= learnt.error(rows) < mean_error(rows)


def mean_error(rows):
    """What one direction alone, the rows' mean, leaves."""
    mean = rows.mean(0) / np.linalg.norm(rows.mean(0))
    return 1 - ((rows @ mean) ** 2).sum() / (rows**2).sum()


def test_partners_by_all_permutations():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    cosine = (one @ other.T) / np.outer(*(np.linalg.norm(x, axis=1) for x in (one, other)))
    best = max(permutations(range(4)), key=lambda p: sum(cosine[i, j] for i, j in enumerate(p)))
    partner, found = matched(one, other)
    assert partner.tolist() == list(best)
    assert found == pytest.approx([cosine[i, j] for i, j in enumerate(best)])


def test_an_atom_without_a_partner():
    partner, found = matched(np.eye(3), np.eye(3)[[2, 0]])
    assert partner.tolist() == [1, -1, 0] and found.tolist() == [1, 0, 1]


def test_the_number_of_atoms_whose_draws_agree_is_taken():
    """Of twice as many atoms as there are, half are noise, which no other draw finds again."""
    rows, _, _ = sums(6, 24, 1500, signed=True, noise=0.3, seed=8)
    found = Nmf(counts=(3, 6, 14)).fit(rows, np.arange(len(rows)) // 10, 0)
    assert len(found.centres) == 6
    assert [one["concepts"] for one in found.choices] == [3, 6, 14]
    assert found.stability.min() > 0.9


def test_too_few_rows():
    with pytest.raises(InputError, match=r"15 segments are too few for 8 concepts.*counts"):
        Nmf(counts=(8,)).fit(np.ones((15, 4)), np.arange(15), 0)

"""A node's doubt at a pixel against scipy's entropy, one node and one pixel at a time."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from conceptseg.study.segnbdt.evidence import doubt
from conceptseg.study.segnbdt.rules import Rules
from tests.study.segnbdt.nets import trees


@pytest.mark.parametrize("tree", trees())
def test_doubt_is_the_entropy_of_the_branches_as_a_share_of_the_largest(tree):
    generator = torch.Generator().manual_seed(1)
    z = 2 * torch.randn(2, tree.classes, 3, 4, generator=generator, dtype=torch.float64)
    found = doubt(Rules(tree, z), z)
    assert found.shape == (2, len(tree.nodes), 3, 4)
    for i, node, y, x in np.ndindex(found.shape):
        branches = tree.nodes[node].branches
        scores = [np.mean([float(z[i, leaf, y, x]) for leaf in branch]) for branch in branches]
        expected = entropy(softmax(scores), base=len(branches))
        assert float(found[i, node, y, x]) == pytest.approx(expected, abs=1e-9)


def test_doubt_is_whole_at_a_tie_and_gone_where_one_branch_is_sure():
    tree = trees()[0]
    tied = torch.zeros(1, tree.classes, 1, 1)
    assert doubt(Rules(tree, tied), tied).numpy() == pytest.approx(1)
    sure = tied.clone()
    for place, leaf in enumerate(tree.nodes[0].branches[0]):
        sure[0, leaf] = 1000.0 + place
    assert float(doubt(Rules(tree, sure), sure)[0, 0]) == 0

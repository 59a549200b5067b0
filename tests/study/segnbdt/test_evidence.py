"""A node's doubt at a pixel against scipy's entropy, one node and one pixel at a time."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import doubt, drawn
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


def test_decisions_of_an_image_are_bounded_and_drawn_alike():
    """Passes for a decision, and for each part, would else grow with the square of the classes."""
    many = np.arange(3, 300, 2)
    found = drawn(many, 40, 0, "a", 3)
    assert len(found) == 40 == len(set(found)) and set(found) <= set(many.tolist())
    assert found == sorted(found) == drawn(many, 40, 0, "a", 3)
    assert found != drawn(many, 40, 0, "b", 3) and found != drawn(many, 40, 1, "a", 3)
    assert drawn(many[:40], 40, 0, "a", 3) == many[:40].tolist()
    counts = np.zeros(300)
    for name in range(400):
        counts[drawn(many, 40, 0, str(name), 3)] += 1
    expected = 400 * 40 / len(many)  # each as often as any other, rare branches too
    assert np.abs(counts[many] - expected).max() < 5 * np.sqrt(expected)


def test_trees_of_usual_numbers_of_classes_are_explained_whole():
    fields = Segnbdt.model_fields
    assert fields["most_decisions"].default == 2 * (21 - 1)

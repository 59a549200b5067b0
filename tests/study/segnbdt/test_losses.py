"""Tree supervision: closed forms, finite differences, and the published slip."""

import numpy as np
import pytest
import torch

from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.tree import star
from conceptseg.study.segnbdt.tune import tree_loss
from tests.study.segnbdt.nets import by_loops, trees


def problem(classes=9):
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(2, classes, 3, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, classes, (2, 3, 2), generator=generator)
    return z, labels


@pytest.mark.parametrize("tree", trees())
def test_loss_equals_its_definition(tree):
    z, labels = problem()
    expected = 0.0
    for i, y, x in np.ndindex(2, 3, 2):
        c = int(labels[i, y, x])
        if c >= 0:
            pixel = z[i, :, y, x].numpy()
            own = np.exp(pixel) / np.exp(pixel).sum()
            expected -= np.log(own[c]) + 10 * np.log(by_loops(tree.nested(), pixel)[0][c])
    assert float(tree_loss(z, labels, Rules(tree, z), 10)) == pytest.approx(expected)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("tree", trees()[:3])
def test_gradients_equal_finite_differences(tree, published):
    z, labels = problem()
    rules = Rules(tree, z)
    z.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda logits: tree_loss(logits, labels, rules, 3.0, published), (z,)
    )


def test_on_a_star_the_tree_is_the_network():
    z, labels = problem()
    plain = torch.nn.functional.cross_entropy(z, labels, ignore_index=-1, reduction="sum")
    assert float(tree_loss(z, labels, Rules(star(9), z), 1)) == pytest.approx(2 * float(plain))


def test_the_published_form_cannot_reach_zero():
    z = torch.full((1, 19, 1, 1), -1e4, dtype=torch.float64)
    z[0, 7] = 1e4
    labels = torch.full((1, 1, 1), 7)
    rules = Rules(star(19), z)
    assert float(tree_loss(z, labels, rules, 1)) == pytest.approx(0, abs=1e-9)
    floor = np.log(1 + 18 / np.e)
    assert float(tree_loss(z, labels, rules, 1, published=True)) == pytest.approx(floor)
    assert floor == pytest.approx(2.03, abs=0.005)

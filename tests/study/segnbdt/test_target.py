"""A node's decision as a target: log-odds, and Grad-PAM's closed form at a linear head."""

import numpy as np
import pytest
import torch

from conceptseg.explain.explainers.grad_pam import GradPam
from conceptseg.explain.scene import Scene
from conceptseg.network.model import SegmentationModel
from conceptseg.study.segnbdt.evidence import moved, strongest
from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.target import decision
from conceptseg.study.segnbdt.tree import Tree
from tests.study.segnbdt.nets import ThreeGroups

TREE = Tree.of(((0, 3), ((1, 4), (2, 5))))


def scene():
    images = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(4))
    return Scene(SegmentationModel(ThreeGroups(), tuple("abcdef")), images)


def test_of_two_branches_it_is_the_log_odds():
    held = scene()
    rules = Rules(TREE, held.logits)
    log = rules.log_edges(rules.scores(held.logits))[0].view(-1, 6, 5)
    mask = torch.rand(1, 6, 5, generator=torch.Generator().manual_seed(0)) > 0.4
    for edge, (number, branch) in enumerate(TREE.edges):
        other = TREE.nodes[number].edge + 1 - branch
        expected = (log[edge] - log[other])[mask[0]].mean()
        found = decision(TREE, edge, mask).on(held.logits)(held.logits)
        assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_of_three_branches_it_is_the_lead_on_the_mean_of_the_others():
    tree = Tree.of(((0, 3), (1, 4), (2, 5)))
    z = torch.randn(1, 6, 1, 1, generator=torch.Generator().manual_seed(3))
    means = [float(z[0, list(pair), 0, 0].mean()) for pair in ((0, 3), (1, 4), (2, 5))]
    found = decision(tree, 1, torch.ones(1, 1, 1, dtype=torch.bool)).on(z)(z)
    assert float(found) == pytest.approx(means[1] - (means[0] + means[2]) / 2, abs=1e-6)


def test_rows_of_variants_are_scored_on_their_images_mask():
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[0, 0, 0] = mask[1, 2, 2] = True
    z = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(5))
    target = decision(TREE, 0, mask).on(z[::2])
    found = target(z)
    for row, (y, x) in enumerate([(0, 0), (0, 0), (2, 2), (2, 2)]):
        pixel = z[row, :, y, x]
        expected = pixel[[0, 3]].mean() - pixel[[1, 2, 4, 5]].mean()
        assert float(found[row]) == pytest.approx(float(expected), abs=1e-6)


def test_decisions_of_one_scene_are_kept_apart():
    """Those whose branch begins with the same class too, on the same or on other pixels."""
    tree = Tree.of(((((0, 1), 2), 3), (4, 5)))
    first = [edge for edge, (n, b) in enumerate(tree.edges) if tree.nodes[n].branches[b][0] == 0]
    assert len(first) == 4
    held, part = scene(), torch.zeros(1, 6, 5, dtype=torch.bool)
    part[0, :3] = True
    whole = torch.ones_like(part)
    targets = [decision(tree, edge, mask) for edge in first for mask in (whole, part)]
    fixed = [held.fix(target) for target in targets]
    assert len({(one.weights, int(one.pixels)) for one in fixed}) == 8
    together = GradPam(layer="body").on(held, targets)
    for one, target in zip(together, targets, strict=True):
        assert torch.equal(one, GradPam(layer="body").on(scene(), [target])[0])


def test_grad_pam_of_a_node_in_closed_form():
    """Behind a linear 1x1 head, each pixel's map is relu(features . node weights) at itself."""
    held = scene()
    mask = torch.zeros(1, 6, 5, dtype=torch.bool)
    mask[0, 1:4, 2] = True
    number, branch = TREE.edges[3]
    weights = torch.tensor(decision(TREE, 3, mask).weights)
    net = held.model.module
    with torch.no_grad():
        features = net.body(held.images)
        reads = weights @ net.head.weight.flatten(1)
        maps = torch.einsum("d,dhw->hw", reads, features[0]).relu() * mask[0] / mask.sum()
    found = GradPam(layer="body", pixels=99).on(held, [decision(TREE, 3, mask)])[0, 0]
    assert found.numpy() == pytest.approx(maps.numpy(), abs=1e-6)
    assert (number, branch) == (1, 1)


def test_the_strongest_pixels_are_positive_and_so_many():
    values = np.array([[3.0, -5.0, 0.5], [2.0, 0.0, 1.0]])
    assert strongest(values, 0.5).tolist() == [[True, False, False], [True, False, True]]
    assert strongest(-np.abs(values), 0.5).sum() == 0


def test_a_moved_mask_keeps_its_shape_and_leaves_its_place():
    mask = torch.zeros(6, 7, dtype=torch.bool)
    mask[1:3, 2] = True
    for seed in range(5):
        found = moved(mask, np.random.default_rng(seed))
        assert found.sum() == 2 and not torch.equal(found, mask)

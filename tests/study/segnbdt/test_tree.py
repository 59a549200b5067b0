"""Trees: their bookkeeping by hand, their making against planted groups and another library."""

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.study.segnbdt.induce import agreement, cluster, from_confusion, support
from conceptseg.study.segnbdt.tree import Tree, given_tree, random_tree, star
from tests.study.segnbdt.nets import WIDE, ThreeGroups, trees


def test_bookkeeping_of_a_tree_by_hand():
    tree = Tree.of(((0, 1), (2, (3, 4))))
    assert [node.depth for node in tree.nodes] == [0, 1, 1, 2]
    assert [node.children for node in tree.nodes] == [(1, 2), (-1, -1), (-1, 3), (-1, -1)]
    assert [node.leaves for node in tree.nodes] == [(0, 1, 2, 3, 4), (0, 1), (2, 3, 4), (3, 4)]
    assert tree.depths.tolist() == [2, 2, 2, 3, 3]
    assert tree.averaging[1].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert tree.meeting[0, 1] == 1 and tree.meeting[1, 4] == 0 and tree.meeting[4, 2] == 2
    assert tree.cophenetic.tolist() == [2, 5, 5, 5, 5, 5, 5, 3, 3, 2]
    assert [(node.number, branch) for node, branch in tree.path(4)] == [(0, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize("tree", trees())
def test_a_tree_survives_its_nested_form(tree):
    assert Tree.of(tree.nested()) == tree
    assert (tree.averaging.sum(1) == pytest.approx(1)) and (tree.paths.sum(1) == tree.depths).all()


@pytest.mark.parametrize("tree", trees())
def test_paths_part_where_they_part(tree):
    for a in range(tree.classes):
        for b in range(tree.classes):
            if a != b:
                ways = dict(tree.path(a)), dict(tree.path(b))
                shared = [n for n in ways[0] if n in ways[1] and ways[0][n] != ways[1][n]]
                assert [node.number for node in shared] == [tree.meeting[a, b]]


def test_star_and_single_branches():
    assert star(4).depths.tolist() == [1, 1, 1, 1]
    assert Tree.of((((0, 1),), (2,))) == Tree.of(((0, 1), 2))


def test_random_trees_are_binary_and_differ():
    rng = np.random.default_rng(0)
    drawn = [random_tree(7, rng) for _ in range(20)]
    assert all(len(node.branches) == 2 for tree in drawn for node in tree.nodes)
    assert len({tree.nested() for tree in drawn}) > 15


@pytest.mark.parametrize("linkage", ["ward", "cosine", "average"])
def test_planted_groups_are_recovered(linkage):
    tree = cluster(ThreeGroups().head.weight.detach().flatten(1).numpy(), linkage)
    assert {frozenset({0, 3}), frozenset({1, 4}), frozenset({2, 5})} <= tree.groups


def test_norms_mislead_ward_and_not_the_cosine():
    rows = ThreeGroups().head.weight.detach().flatten(1).numpy() * np.array([[1.0]] * 5 + [[9.0]])
    groups = {frozenset({0, 3}), frozenset({1, 4}), frozenset({2, 5})}
    assert groups <= cluster(rows, "cosine").groups
    assert not groups <= cluster(rows, "ward").groups


@pytest.mark.parametrize("linkage", ["ward", "average"])
def test_another_library_joins_alike(linkage):
    clustering = pytest.importorskip("sklearn.cluster").AgglomerativeClustering
    rows = np.random.default_rng(5).normal(size=(12, 6))
    found = clustering(n_clusters=1, linkage=linkage, compute_full_tree=True).fit(rows)
    parts = [frozenset({i}) for i in range(12)]
    for a, b in found.children_:
        parts.append(parts[a] | parts[b])
    assert cluster(rows, linkage).groups == frozenset(parts[12:])


def test_confused_classes_part_late():
    confusion = np.diag([90, 90, 90, 90]) + 1
    confusion[0, 2] = confusion[1, 3] = confusion[3, 1] = 40
    assert {frozenset({0, 2}), frozenset({1, 3})} <= from_confusion(confusion).groups


def test_agreement_of_trees():
    tree = Tree.of(((0, 1), (2, (3, 4))))
    assert agreement(tree, tree) == pytest.approx(1)
    assert np.isnan(agreement(tree, star(5)))
    other = Tree.of((((0, 3), 1), (2, 4)))
    by_numpy = np.corrcoef([2, 5, 5, 5, 5, 5, 5, 3, 3, 2], [3, 5, 2, 5, 5, 3, 5, 5, 2, 5])[0, 1]
    assert agreement(tree, other) == pytest.approx(by_numpy)
    assert support(tree, [tree, other]).tolist() == [1, 0.5, 0.5, 0.5]


CLASSES = ("road", "pavement", "car", "bus")


def test_a_users_tree():
    tree = given_tree({"ground": ["road", "pavement"], "vehicles": ["car", "bus"]}, CLASSES)
    assert tree.nested() == ((0, 1), (2, 3))
    assert tree.branch_name(0, 1, CLASSES) == "vehicles"
    assert tree.node_name(2, CLASSES) == "vehicles: car | bus"
    assert given_tree([["road", "bus"], "pavement", ["car"]], CLASSES).nested() == ((0, 3), 1, 2)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([["road", "pavment"], ["car", "bus"]], "pavement"),
        ([["road", "pavement"], "car"], "'bus' comes not at all"),
        ([["road", "pavement"], ["car", "bus", "road"]], "'road' comes twice"),
    ],
)
def test_a_users_tree_that_is_wrong(tree, message):
    with pytest.raises(InputError, match=message):
        given_tree(tree, CLASSES)


def test_wide_trees_have_names_of_bounded_length():
    tree = star(40)
    assert len(tree.node_name(0, [f"class {i}" for i in range(40)])) < 80
    assert Tree.of(WIDE).node_name(0, list("abcdefghi")) == "a, b and 2 more | d | e, g and 2 more"

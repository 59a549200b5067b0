"""Counts of decisions against loops over pixels."""

import numpy as np
import pytest
import torch

from conceptseg.study.segnbdt import tables
from conceptseg.study.segnbdt.grown import Plan
from conceptseg.study.segnbdt.intervals import drawn_weights, mean_iou, ratio
from conceptseg.study.segnbdt.judge import FINE, Judged, joint, near_edges, nodes_at
from conceptseg.study.segnbdt.rules import Rules
from tests.study.segnbdt.nets import trees

K, BINS = 9, 5


def drawn(images=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(images, K, 7, 6, generator=generator)
    labels = torch.randint(-1, K, (images, 7, 6), generator=generator)
    return z, labels


def judged(tree, z, labels):
    rules = Rules(tree, z)
    soft, hard = rules.both(z)
    decided = [z.argmax(1), soft.argmax(1), hard]
    hits, bins = zip(
        *(nodes_at(rules, z[i : i + 1], labels[i], BINS) for i in range(len(z))), strict=True
    )
    rows = [
        joint(labels[i], near_edges(decided[0][i], 1), [one[i] for one in decided], K)
        for i in range(len(z))
    ]
    ids = tuple(f"s{i}" for i in range(len(z)))
    last = sum(bins)[:, -1]
    return Judged(
        ids, ids, ("network", "soft", "hard"), tuple(rows), np.array(hits), sum(bins)[:, :-1],
        last[:, 2] / FINE / np.maximum(last[:, 0], 1), np.ones(len(z), bool),
    ), decided  # fmt: skip


def plan(tree):
    support = np.ones(len(tree.nodes))
    return Plan(tree, "x", None, (), (), 0.5, np.zeros(9), np.ones(3), np.ones(3), support, {})


@pytest.mark.parametrize("tree", trees()[:3])
def test_joint_counts_give_every_confusion(tree):
    z, labels = drawn()
    found, (network, _, hard) = judged(tree, z, labels)
    for first, second, a, b in (
        ("truth", "hard", labels, hard),
        ("truth", "network", labels, network),
        ("network", "hard", network, hard),
    ):
        expected = np.zeros((3, K, K), int)
        for i, y, x in np.ndindex(*labels.shape):
            if a[i, y, x] >= 0:
                expected[i, a[i, y, x], b[i, y, x]] += 1
        assert (found.confusion(first, second, K) == expected).all()


def test_boundaries_by_loops():
    prediction = torch.randint(0, 3, (9, 8), generator=torch.Generator().manual_seed(1))
    prediction[:, :5] = 1
    found = near_edges(prediction, 2)
    for y, x in np.ndindex(9, 8):
        around = prediction[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        assert bool(found[y, x]) == bool(around.min() != around.max())


@pytest.mark.parametrize("tree", trees()[:3])
def test_nodes_by_loops(tree):
    z, labels = drawn()
    found, _ = judged(tree, z, labels)
    for node in tree.nodes:
        hits, sure, spread = np.zeros((3, 2), int), [], []
        for i, y, x in np.ndindex(*labels.shape):
            wanted = [b for b, below in enumerate(node.branches) if int(labels[i, y, x]) in below]
            if not wanted:
                continue
            pixel = z[i, :, y, x].double().numpy()
            scores = np.array([pixel[list(below)].mean() for below in node.branches])
            p = np.exp(scores) / np.exp(scores).sum()
            hits[i] += 1, int(p.argmax()) == wanted[0]
            sure.append((p.max(), int(p.argmax()) == wanted[0]))
            spread.append(-(p * np.log(p)).sum())
        assert (found.hits[:, node.number] == hits).all()
        bins = np.array([min(int(s * BINS + 1e-4), BINS - 1) for s, _ in sure])
        for b in range(BINS):
            row = found.bins[node.number, b]
            assert row[0] == (bins == b).sum()
            assert row[1] == sum(
                right for (_, right), place in zip(sure, bins, strict=True) if place == b
            )
            total = sum(s for (s, _), place in zip(sure, bins, strict=True) if place == b)
            assert row[2] / FINE == pytest.approx(total, abs=1e-3)
        assert found.entropy[node.number] == pytest.approx(np.mean(spread), abs=1e-4)


@pytest.mark.parametrize("tree", trees()[:4])
def test_first_wrong_nodes_by_following_both_paths(tree):
    z, labels = drawn()
    found, (_, _, hard) = judged(tree, z, labels)
    expected = np.zeros((3, len(tree.nodes)), int)
    rules = Rules(tree, z)
    chosen = rules.choices(rules.scores(z)).view(3, len(tree.nodes), 7, 6)
    for i, y, x in np.ndindex(*labels.shape):
        truth = int(labels[i, y, x])
        if truth < 0 or truth == int(hard[i, y, x]):
            continue
        for node, branch in tree.path(truth):  # the first decision off the true path
            if int(chosen[i, node.number, y, x]) != branch:
                expected[i, node.number] += 1
                break
    assert (tables.wrong_at_nodes(plan(tree), found, "hard", K) == expected).all()
    rows = tables.depth_rows(plan(tree), found, drawn_weights(found.ids, 0), K)
    assert sum(row["tree_hard"] for row in rows) == pytest.approx(1)
    assert sum(row["by_chance"] for row in rows) == pytest.approx(1)


def test_miou_is_that_of_the_definition():
    z, labels = drawn()
    tree = trees()[0]
    found, (network, _, hard) = judged(tree, z, labels)
    draws = drawn_weights(found.ids, 0)
    known = labels >= 0
    for name, one in (("network", network), ("hard", hard)):
        by_class = []
        for c in range(K):
            a, b = (labels == c) & known, (one == c) & known
            if a.any():
                by_class.append(float((a & b).sum()) / float((a | b).sum()))
        value, _ = mean_iou(found.confusion("truth", name, K), draws)
        assert value[0] == pytest.approx(np.mean(by_class))
    rows = {row["decided_by"]: row for row in tables.fidelity_rows(found, draws, K)}
    assert rows["network"]["agreement"] == 1 and rows["network"]["change"] == 0
    share = float((hard == network).float().mean())
    assert rows["tree, hard"]["agreement"] == pytest.approx(share)
    assert rows["tree, hard"]["agreement_low"] <= share <= rows["tree, hard"]["agreement_high"]


def test_a_miou_of_whole_groups_is_drawn_together():
    """Two groups of two images: a draw holds none or all of a group."""
    draws = drawn_weights(["a", "a", "b", "b"], 0)
    assert (draws[:, 0] == draws[:, 1]).all() and (draws[:, 2] == draws[:, 3]).all()
    assert set(draws[:, 0].tolist()) == {0, 1, 2} and (draws.sum(1) == 4).all()
    found = ratio(np.array([1, 1, 0, 0]), np.ones(4), draws)
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
    assert np.isnan(ratio(np.ones(2), np.ones(2), drawn_weights(["a", "a"], 0)).low)

"""Counts of decisions against loops over pixels."""

import numpy as np
import pytest
import torch

from conceptseg.stats.estimate import Sampling
from conceptseg.study.segnbdt import tables
from conceptseg.study.segnbdt.grown import Grown
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
    each = [nodes_at(rules, z[i : i + 1], labels[i], BINS) for i in range(len(z))]
    hits = [np.stack([bins[:, -1, 0], bins[:, :-1, 1].sum(1)], 1) for bins in each]
    bins = sum(each)
    rows = [
        joint(labels[i], near_edges(decided[0][i], 1), [one[i] for one in decided], K)
        for i in range(len(z))
    ]
    ids = tuple(f"s{i}" for i in range(len(z)))
    last = bins[:, -1]
    return Judged(
        ids, ("network", "soft", "hard"), tuple(rows), np.array(hits), bins[:, :-1],
        last[:, 2] / FINE / np.maximum(last[:, 0], 1), np.ones(len(z), bool),
        Sampling(ids, ids, "images", 0),
    ), decided  # fmt: skip


def grown(tree):
    support = np.ones(len(tree.nodes))
    return Grown(tree, "x", (), (), np.zeros(9), np.ones(3), np.ones(3), support, {})


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
    assert (tables.wrong_at_nodes(grown(tree), found, "hard", K) == expected).all()
    rows = tables.depth_rows(grown(tree), found, K)
    assert sum(row["tree_hard"] for row in rows) == pytest.approx(1)
    assert sum(row["by_chance"] for row in rows) == pytest.approx(1)


def test_miou_is_that_of_the_definition():
    z, labels = drawn()
    tree = trees()[0]
    found, (network, _, hard) = judged(tree, z, labels)
    known = labels >= 0
    for name, one in (("network", network), ("hard", hard)):
        by_class = []
        for c in range(K):
            a, b = (labels == c) & known, (one == c) & known
            if a.any():
                by_class.append(float((a & b).sum()) / float((a | b).sum()))
        value = tables.mean_iou(found.confusion("truth", name, K))
        assert value[0] == pytest.approx(np.mean(by_class))
    rows = {row["decided_by"]: row for row in tables.fidelity_rows(found, K)}
    assert rows["network"]["agreement"] == 1 and rows["network"]["change"] == 0
    share = float((hard == network).float().mean())
    assert rows["tree, hard"]["agreement"] == pytest.approx(share)


def test_no_interval_is_computed_of_fewer_than_five_images():
    for images in (3, 5):
        found, (network, _, hard) = judged(trees()[0], *drawn(images))
        row = tables.fidelity_rows(found, K)[2]
        share = float((hard == network).float().mean())
        for name in ("agreement", "miou", "change"):
            there = bool(np.isfinite([row[f"{name}_low"], row[f"{name}_high"]]).all())
            assert there == (images == 5), name
        assert images == 3 or row["agreement_low"] <= share <= row["agreement_high"]


def test_a_miou_of_whole_groups_is_drawn_together():
    """By loops: in each draw of six groups of two images a class counts if its labels hold it."""
    groups = tuple(f"g{i // 2}" for i in range(12))
    sampling = Sampling(tuple(map(str, range(12))), groups, "groups", 0, 50)
    weights = sampling.weights()
    assert (weights[:, 0::2] == weights[:, 1::2]).all() and (weights.sum(1) == 12).all()
    counts = np.random.default_rng(0).integers(0, 2, (12, 3, 3)) * np.arange(12)[:, None, None]
    for own, value in zip(weights, tables.mean_iou(counts, weights), strict=True):
        total = sum(w * one for w, one in zip(own.tolist(), counts, strict=True))
        ious = [
            total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c])
            for c in range(3)
            if total[c].sum()
        ]
        assert value == pytest.approx(np.mean(ious) if ious else 0)

"""The tables of a SegNBDT result."""

from typing import Any

import numpy as np

from conceptseg.stats.estimate import NAN, Estimate
from conceptseg.study.segnbdt.columns import (
    ACCURACY,
    AGREEMENT,
    CHANGE,
    HARD,
    MIOU,
    NETWORK,
    NETWORK_WRONG,
    SHARE,
    WORDS,
    WRONG,
)
from conceptseg.study.segnbdt.grown import Grown
from conceptseg.study.segnbdt.judge import FINE, Judged

Rows = list[dict[str, Any]]
PUBLISHED = [
    {"data": data, "network": network, "tree": tree, "change": tree - network}
    for data, network, tree in (
        ("Cityscapes", 0.8112, 0.7901),
        ("Pascal-Context", 0.5254, 0.4912),
        ("Look Into Person", 0.5537, 0.5164),
        ("ADE20K", 0.4258, 0.3583),
    )
]
"""mIoU of HRNetV2-W48 and of its tree, trained with tree supervision: SegNBDT, table 1."""


def fidelity_rows(judged: Judged, k: int) -> Rows:
    """Per decider: agreement with the network, at boundaries too; mIoU and what it costs."""
    sampling, weights = judged.sampling, judged.sampling.weights()
    rows: Rows = []
    for name in judged.deciders:
        edge = judged.confusion("network", name, k, boundary=True)
        row: dict[str, Any] = {
            "decided_by": WORDS[name],
            **AGREEMENT.cells(_right(judged, judged.confusion("network", name, k))),
            "at_boundaries": _right(judged, edge).value,
        }
        if judged.any_labels:
            counts = judged.confusion("truth", name, k)
            value, draws = float(mean_iou(counts)[0]), mean_iou(counts, weights)
            if not rows:  # the network itself, with which the others are compared
                whole, drawn = value, draws
            row |= {
                "pixel_accuracy": _right(judged, counts).value,
                **MIOU.cells(sampling.of_draws(value, draws)),
                **CHANGE.cells(sampling.of_draws(value - whole, draws - drawn)),
            }
        rows.append(row)
    return rows


def _right(judged: Judged, counts: np.ndarray) -> Estimate:
    """The share of the counts [i, k, k] that lie on the diagonal."""
    return judged.sampling.part(np.einsum("ikk->i", counts), counts.sum((1, 2)))


def mean_iou(confusions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """mIoU of counts [i, k, k], truth by prediction, summed by `weights` [d, i] (all once): [d].

    The mean is over classes that the labels of what is summed hold at all.
    """
    iou, held = class_ious(confusions, weights)
    return np.asarray(iou.sum(1) / np.maximum(held.sum(1), 1))


def class_ious(
    confusions: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each class in weighted sums of counts (all once without weights), 0 where no label
    holds it; and whether one does: [d, k] each."""
    counts = np.asarray(confusions, np.float64)
    weights = np.ones((1, len(counts))) if weights is None else weights
    shared, held, taken = np.einsum("ikk->ik", counts), counts.sum(2), counts.sum(1)
    both, union, labelled = (weights @ one for one in (shared, held + taken - shared, held))
    there = labelled > 0
    return np.where(there, both / np.maximum(union, 1), 0), there


def class_rows(grown: Grown, judged: Judged, classes: tuple[str, ...]) -> Rows:
    k = len(classes)
    agreed = judged.confusion("network", "hard", k)
    iou = {}
    if judged.any_labels:
        for name in ("network", "hard", "soft"):
            own, held = class_ious(judged.confusion("truth", name, k))
            iou[name] = np.where(held[0], own[0], NAN)
    return [
        {
            "class": name,
            "path_length": int(grown.tree.depths[c]),
            "pixels_predicted": int(agreed[:, c].sum()),
            **AGREEMENT.cells(judged.sampling.part(agreed[:, c, c], agreed[:, c].sum(1))),
            **{f"iou_{key}": float(value[c]) for key, value in iou.items()},
        }
        for c, name in enumerate(classes)
    ]


def node_rows(grown: Grown, judged: Judged, classes: tuple[str, ...]) -> Rows:
    """Per node: how often its own decision is right, calibration, entropy, support."""
    wrong = wrong_at_nodes(grown, judged, "hard", len(classes))
    network = wrong_at_nodes(grown, judged, "network", len(classes))
    share = judged.sampling.part
    rows: Rows = []
    for node in grown.tree.nodes:
        n = node.number
        counts = judged.bins[n].astype(np.float64)
        pixels, right, sure = counts.T[0].sum(), counts.T[1], counts.T[2] / FINE
        rows.append(
            {
                "node": n,
                "question": grown.tree.node_name(n, classes),
                "depth": node.depth,
                "classes": len(node.leaves),
                "pixels": int(pixels),
                **ACCURACY.cells(share(judged.hits[:, n, 1], judged.hits[:, n, 0])),
                "confidence": sure.sum() / pixels if pixels else NAN,
                "calibration_error": np.abs(right - sure).sum() / pixels if pixels else NAN,
                "entropy": float(judged.entropy[n]) if pixels else NAN,
                "support": float(grown.support[n]),
                **WRONG.cells(share(wrong[:, n], wrong.sum(1))),
                **NETWORK_WRONG.cells(share(network[:, n], network.sum(1))),
                "reads": grown.reads.get(n, ""),
            }
        )
    return rows


def wrong_at_nodes(grown: Grown, judged: Judged, decider: str, k: int) -> np.ndarray:
    """Wrong pixels of each image by the node at which the decision leaves the true path, [i, n].

    For the network: at which the paths of its class and of the true one part. Images without
    labels have the network's class for the true one.
    """
    counts = judged.against_reference(decider, k)
    nodes = range(len(grown.tree.nodes))
    return np.stack([counts[:, grown.tree.meeting == n].sum(1) for n in nodes], 1)


def depth_rows(grown: Grown, judged: Judged, k: int) -> Rows:
    """Share of wrong pixels by the depth of the first wrong node, and what chance would do.

    By chance: wrong pixels keep their true and their decided classes' frequencies, but which goes
    with which is drawn at random (of pairs that differ).
    """
    depth = np.array([node.depth for node in grown.tree.nodes])
    by_node = {name: wrong_at_nodes(grown, judged, name, k) for name in ("hard", "network")}
    wrong = judged.against_reference("hard", k).sum(0).astype(np.float64)
    np.fill_diagonal(wrong, 0)
    product = np.outer(wrong.sum(1), wrong.sum(0))
    np.fill_diagonal(product, 0)
    total = product.sum()
    rows = []
    for level in range(int(depth.max()) + 1):
        row: dict[str, Any] = {"depth": level}
        for name, counts in by_node.items():
            part = counts[:, depth == level].sum(1)
            column = NETWORK if name == "network" else HARD
            row |= column.cells(judged.sampling.part(part, counts.sum(1)))
        pairs = np.isin(grown.tree.meeting, np.flatnonzero(depth == level))
        row["by_chance"] = float(product[pairs].sum() / total) if total else NAN
        rows.append(row)
    return rows


def confusion_rows(grown: Grown, judged: Judged, classes: tuple[str, ...], most: int = 60) -> Rows:
    """Pairs of a true and a decided class, most pixels first, and the node where they part."""
    k = len(classes)
    counts = judged.against_reference("hard", k)
    network = judged.against_reference("network", k)
    off = 1 - np.eye(k, dtype=np.int64)
    wrong = (counts * off).sum((1, 2))
    totals = counts.sum(0) * off
    order = np.argsort(-totals, axis=None, kind="stable")[: min(most, np.count_nonzero(totals))]
    rows = []
    for a, b in (divmod(place, k) for place in order.tolist()):
        node = grown.tree.nodes[int(grown.tree.meeting[a, b])]
        rows.append(
            {
                "true_class": classes[a],
                "decided": classes[b],
                "first_wrong_node": node.number,
                "question": grown.tree.node_name(node.number, classes),
                "depth": node.depth,
                "pixels": int(totals[a, b]),
                "images": int((counts[:, a, b] > 0).sum()),
                **SHARE.cells(judged.sampling.part(counts[:, a, b], wrong)),
                "pixels_network": int(network[:, a, b].sum()),
            }
        )
    return rows


def calibration_rows(grown: Grown, judged: Judged) -> Rows:
    return [
        {
            "node": node.number,
            "bin": b,
            "pixels": pixels,
            "confidence": sure / FINE / pixels,
            "accuracy": right / pixels,
        }
        for node in grown.tree.nodes
        for b, (pixels, right, sure) in enumerate(judged.bins[node.number].tolist())
        if pixels
    ]

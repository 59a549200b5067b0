"""The tables of a SegNBDT result, and the columns that its report draws.

A result is saved without heads; the report sets them, from :data:`COLUMNS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from conceptseg.result.columns import Column
from conceptseg.study.segnbdt import intervals
from conceptseg.study.segnbdt.grown import Plan
from conceptseg.study.segnbdt.intervals import Estimate, ratio
from conceptseg.study.segnbdt.judge import FINE, Judged

Rows = list[dict[str, Any]]
PUBLISHED = (
    ("Cityscapes", 0.8112, 0.7901),
    ("Pascal-Context", 0.5254, 0.4912),
    ("Look Into Person", 0.5537, 0.5164),
    ("ADE20K", 0.4258, 0.3583),
)
"""mIoU of HRNetV2-W48 and of its tree, trained with tree supervision: SegNBDT, table 1."""
AGREEMENT = Column("agreement", "agreement with the network", interval=True, brief="agreement")
MIOU = Column("miou", "mIoU", interval=True)
CHANGE = Column("change", "change of mIoU", interval=True, brief="change")
ACCURACY = Column("accuracy", interval=True)
WRONG = Column(
    "wrong_share", "share of wrong pixels that go wrong here first", interval=True, brief="share"
)
NETWORK_WRONG = Column(
    "network_wrong_share",
    "share of the network's wrong pixels",
    interval=True,
    brief="network's share",
)
HARD = Column("tree_hard", "tree, hard", interval=True)
NETWORK = Column("network", interval=True)
SHARE = Column("share", interval=True)
CALIBRATION = Column("calibration_error", "expected calibration error")
ENTROPY = Column("entropy", "mean entropy (nats)")
EFFECT = Column("effect", "change of margin", interval=True, brief="change of margin")
REMOVED = Column("removed", "change, evidence removed")
BY_CHANCE = Column("by_chance", "change, same shape elsewhere")
P_HOLM = Column("p_holm", "p Holm")
COLUMNS = (
    AGREEMENT,
    MIOU,
    CHANGE,
    Column("at_boundaries", "agreement at boundaries"),
    Column("iou_network", "IoU, network"),
    Column("iou_hard", "IoU, tree hard"),
    Column("iou_soft", "IoU, tree soft"),
    Column("likeness", "cophenetic correlation with the studied tree"),
    Column("soft_agreement", "agreement, soft"),
)
"""Those of the tables that are shown as they were saved."""
WORDS = {
    "network": "network",
    "soft": "tree, soft",
    "hard": "tree, hard",
    "network, tuned": "tuned network",
    "soft, tuned": "tuned network's tree, soft",
    "hard, tuned": "tuned network's tree, hard",
}


def fidelity_rows(judged: Judged, draws: np.ndarray, k: int) -> Rows:
    """Per decider: agreement with the network, at boundaries too; mIoU and what it costs."""
    labelled = judged.any_labels
    miou = {
        name: intervals.mean_iou(judged.confusion("truth", name, k), draws)
        for name in (judged.deciders if labelled else ())
    }
    rows = []
    for name in judged.deciders:
        whole = judged.confusion("network", name, k)
        edge = judged.confusion("network", name, k, boundary=True)
        row: dict[str, Any] = {"decided_by": WORDS[name]}
        row |= AGREEMENT.cells(_diagonal(whole, draws))
        row |= {"at_boundaries": _diagonal(edge, draws).value}
        if labelled:
            truth = judged.confusion("truth", name, k)
            row |= {"pixel_accuracy": _diagonal(truth, draws).value}
            row |= MIOU.cells(intervals.estimate(miou[name]))
            row |= CHANGE.cells(intervals.difference(miou[name], miou["network"]))
        rows.append(row)
    return rows


def _diagonal(counts: np.ndarray, draws: np.ndarray) -> Estimate:
    return ratio(np.einsum("ikk->i", counts), counts.sum((1, 2)), draws)


def class_rows(plan: Plan, judged: Judged, draws: np.ndarray, classes: tuple[str, ...]) -> Rows:
    k = len(classes)
    agreed = judged.confusion("network", "hard", k)
    iou = {}
    if judged.any_labels:
        for name in ("network", "hard", "soft"):
            shared, union, held = intervals.iou_parts(judged.confusion("truth", name, k))
            iou[name] = np.where(held.sum(0) > 0, shared.sum(0) / np.maximum(union.sum(0), 1), NAN)
    rows = []
    for c, name in enumerate(classes):
        kept = ratio(agreed[:, c, c], agreed[:, c].sum(1), draws)
        row: dict[str, Any] = {"class": name, "path_length": int(plan.tree.depths[c])}
        row |= {"pixels_predicted": int(agreed[:, c].sum())} | AGREEMENT.cells(kept)
        row |= {f"iou_{key}": float(value[c]) for key, value in iou.items()}
        rows.append(row)
    return rows


NAN = float("nan")


def node_rows(plan: Plan, judged: Judged, draws: np.ndarray, classes: tuple[str, ...]) -> Rows:
    """Per node: how often its own decision is right, calibration, entropy, support."""
    wrong = wrong_at_nodes(plan, judged, "hard", len(classes))
    network = wrong_at_nodes(plan, judged, "network", len(classes))
    rows = []
    for node in plan.tree.nodes:
        n = node.number
        counts = judged.bins[n].astype(np.float64)
        pixels = counts[:, 0].sum()
        gaps = np.abs(counts[:, 1] - counts[:, 2] / FINE)
        sure = counts[:, 2].sum() / FINE
        row: dict[str, Any] = {
            "node": n,
            "question": plan.tree.node_name(n, classes),
            "depth": node.depth,
            "classes": len(node.leaves),
            "pixels": int(pixels),
        }
        row |= ACCURACY.cells(ratio(judged.hits[:, n, 1], judged.hits[:, n, 0], draws))
        row |= {
            "confidence": sure / pixels if pixels else NAN,
            "calibration_error": gaps.sum() / pixels if pixels else NAN,
            "entropy": float(judged.entropy[n]) if pixels else NAN,
            "support": float(plan.support[n]),
        }
        row |= WRONG.cells(ratio(wrong[:, n], wrong.sum(1), draws))
        row |= NETWORK_WRONG.cells(ratio(network[:, n], network.sum(1), draws))
        row |= {"reads": plan.evidence.get(n, "")}
        rows.append(row)
    return rows


def wrong_at_nodes(plan: Plan, judged: Judged, decider: str, k: int) -> np.ndarray:
    """Wrong pixels of each image by the node at which the decision leaves the true path, [i, n].

    For the network: at which the paths of its class and of the true one part. Images without
    labels have the network's class for the true one.
    """
    counts = against_reference(judged, decider, k)
    nodes = range(len(plan.tree.nodes))
    wrong = [counts[:, plan.tree.meeting == n].sum(1) for n in nodes]
    return np.stack(wrong, 1) if wrong else np.zeros((len(counts), 0), np.int64)


def against_reference(judged: Judged, decider: str, k: int) -> np.ndarray:
    """Counts [i, k, k] of labels by decided class; by the network's class where there are none."""
    counts = judged.confusion("truth", decider, k)
    if not judged.labelled.all():
        counts[~judged.labelled] = judged.confusion("network", decider, k)[~judged.labelled]
    return counts


def depth_rows(plan: Plan, judged: Judged, draws: np.ndarray, k: int) -> Rows:
    """Share of wrong pixels by the depth of the first wrong node, and what chance would do.

    By chance: wrong pixels keep their true and their decided classes' frequencies, but which goes
    with which is drawn at random (of pairs that differ).
    """
    depth = np.array([node.depth for node in plan.tree.nodes])
    by_node = {name: wrong_at_nodes(plan, judged, name, k) for name in ("hard", "network")}
    wrong = against_reference(judged, "hard", k).sum(0).astype(np.float64)
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
            row |= column.cells(ratio(part, counts.sum(1), draws))
        pairs = np.isin(plan.tree.meeting, np.flatnonzero(depth == level))
        row["by_chance"] = float(product[pairs].sum() / total) if total else NAN
        rows.append(row)
    return rows


def confusion_rows(
    plan: Plan, judged: Judged, draws: np.ndarray, classes: tuple[str, ...], most: int = 60
) -> Rows:
    """Pairs of a true and a decided class, most pixels first, and the node where they part."""
    k = len(classes)
    counts = against_reference(judged, "hard", k)
    network = against_reference(judged, "network", k)
    off = 1 - np.eye(k, dtype=np.int64)
    wrong = (counts * off).sum((1, 2))
    totals = counts.sum(0) * off
    order = np.argsort(-totals.ravel(), kind="stable")[:most]
    rows = []
    for place in order.tolist():
        a, b = divmod(place, k)
        if not totals[a, b]:
            break
        node = plan.tree.nodes[int(plan.tree.meeting[a, b])]
        rows.append(
            {
                "true_class": classes[a],
                "decided": classes[b],
                "first_wrong_node": node.number,
                "question": plan.tree.node_name(node.number, classes),
                "depth": node.depth,
                "pixels": int(totals[a, b]),
                "images": int((counts[:, a, b] > 0).sum()),
                **SHARE.cells(ratio(counts[:, a, b], wrong, draws)),
                "pixels_network": int(network[:, a, b].sum()),
            }
        )
    return rows


def calibration_rows(plan: Plan, judged: Judged, classes: tuple[str, ...]) -> Rows:
    rows = []
    for node in plan.tree.nodes:
        for b, (pixels, right, sure) in enumerate(judged.bins[node.number].tolist()):
            if pixels:
                rows.append(
                    {
                        "node": node.number,
                        "bin": b,
                        "pixels": pixels,
                        "confidence": sure / FINE / pixels,
                        "accuracy": right / pixels,
                    }
                )
    return rows

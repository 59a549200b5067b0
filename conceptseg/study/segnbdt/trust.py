"""The sections of a SegNBDT report on how far to believe it: calibration, chance, tuning."""

from __future__ import annotations

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, Facts, FigureBlock, Notice, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.segnbdt.sections import LABELS, column, rows_of, table


def calibration(result: Result) -> Section:
    rows = rows_of(result, "calibration")
    nodes = sorted(rows_of(result, "nodes"), key=lambda r: -r["pixels"])[:6]
    lines = {}
    for node in nodes:
        own = [row for row in rows if row["node"] == node["node"]]
        if own:
            name = f"{node['node']}: {node['question']}"
            lines[name] = (column(own, "confidence"), column(own, "accuracy"))
    blocks: list[Block] = []
    if lines:
        lines["as sure as right"] = (np.array([0.5, 1.0]), np.array([0.5, 1.0]))
        figure = figures.trade_off(lines, x_name="confidence in the branch", y_name="share right")
        caption = (
            "The nodes of most pixels. Below the diagonal a node is surer than it is right. "
            "Confidence is the probability of the branch that is taken."
        )
        keys = [
            "node",
            "question",
            "pixels",
            "accuracy",
            "confidence",
            "calibration_error",
            "entropy",
        ]
        found = table(rows_of(result, "nodes"), keys)
        blocks.append(FigureBlock(figure, "Sure and right", caption, caption, found, "calibrated"))
    return Section("calibration", "How sure the nodes are", "", blocks)


def chance(result: Result) -> Section:
    notes = result.notes
    figure = figures.null_histogram(
        np.asarray(result.arrays["null_agreement"]),
        {"this tree": notes["observed"]},
        value_name="agreement with the network, hard",
    )
    quantiles = (0.0, 0.05, 0.5, 0.95, 1.0)
    null = np.asarray(result.arrays["null_agreement"], float)
    held = Table([{"quantile": q, "agreement": float(np.quantile(null, q))} for q in quantiles])
    caption = (
        f"{notes['random_trees']} random binary trees on the same pixels, drawn from judged "
        "images. A tree that does not beat them says nothing about how the classes are ordered."
    )
    blocks: list[Block] = [
        FigureBlock(figure, "Against random trees", caption, caption, held, "null"),
        TableBlock(
            Table(rows_of(result, "trees"), result.tables["trees"].columns, LABELS),
            "Other trees",
            "Made from the same network in other ways, and compared on pixels of images that none "
            "of them was made from. The star is the network itself: one node with all classes.",
        ),
    ]
    if notes["stability"] is not None:
        blocks.append(
            Facts(
                (
                    ("Likeness of redrawn trees", notes["stability"]),
                    ("The least of 95 %", notes["stability_low"]),
                    ("Likeness of random trees", notes["chance_likeness"]),
                ),
                "Stability of the tree",
            )
        )
        blocks.append(
            Notice(
                "Likeness is the cophenetic correlation with the studied tree. Redrawn trees come "
                "from the weights' columns, or the images, drawn again with replacement. A node's "
                "support is the share of redrawn trees that hold the same group of classes: nodes "
                "of little support are an accident of the clustering.",
                heading="How to read it",
            )
        )
    return Section("chance", "How much is chance", "", blocks)


def tuning(result: Result) -> Section:
    notes = result.notes
    rows = rows_of(result, "tuning")
    checked = column(rows, "loss_checked")
    figure = figures.curves(
        column(rows, "step"),
        {"checked images": checked},
        x_name="step",
        y_name="loss per pixel (nats)",
    )
    what = "the last layer" if notes["tune"] == "head" else "all weights"
    how = "stopped early" if notes["stopped"] else "ran to its last step"
    caption = (
        f"Cross entropy plus {notes['tree_weight']:g} times that of the tree, on images that were "
        f"neither trained on nor judge. Training of {what} {how}; the best weights are kept, in "
        "the arrays that begin with `tuned`."
        + (" The tree's term is the published one." if notes["published_loss"] else "")
    )
    block = FigureBlock(figure, "Loss while tuning", caption, caption, table(rows, list(rows[0])))
    return Section("tuning", "Tuning for the tree", "", [block])

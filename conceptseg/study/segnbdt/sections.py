"""The sections of a SegNBDT report that hold charts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, FigureBlock, Prose, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.segnbdt.charts import icicle, two_bars

Row = dict[str, Any]
MOST = 16
ALPHA = 0.05
LABELS = {
    "miou": "mIoU",
    "miou_low": "mIoU, low",
    "miou_high": "mIoU, high",
    "change": "change of mIoU",
    "change_low": "change, low",
    "change_high": "change, high",
    "at_boundaries": "agreement at boundaries",
    "iou_network": "IoU, network",
    "iou_hard": "IoU, tree hard",
    "iou_soft": "IoU, tree soft",
    "wrong_share": "share of wrong pixels that go wrong here first",
    "wrong_share_low": "share, low",
    "wrong_share_high": "share, high",
    "network_wrong_share": "share of the network's wrong pixels",
    "calibration_error": "expected calibration error",
    "entropy": "mean entropy (nats)",
    "likeness": "cophenetic correlation with the studied tree",
    "agreement": "agreement with the network",
    "soft_agreement": "agreement, soft",
    "tree_hard": "tree, hard",
    "removed": "change, evidence removed",
    "by_chance": "change, same shape elsewhere",
    "effect": "change of margin",
    "effect_low": "low",
    "effect_high": "high",
    "p_holm": "p Holm",
}


def rows_of(result: Result, name: str) -> list[Row]:
    return [dict(row) for row in result.tables[name].rows]


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([np.nan if r[name] is None else r[name] for r in rows], dtype=float)


def table(rows: Sequence[Row], names: Sequence[str], **labels: str) -> Table:
    return Table([{n: r.get(n) for n in names} for r in rows], tuple(names), LABELS | labels)


def tree(result: Result) -> Section:
    nodes, branches = rows_of(result, "nodes"), rows_of(result, "branches")
    figure = icicle(nodes, branches, len(result.notes["classes"]))
    names = [
        "node",
        "depth",
        "question",
        "classes",
        "pixels",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "wrong_share",
        "support",
    ]
    caption = (
        "From the root on top down to the classes. A click on a part zooms into it, a click on the "
        "strip above leads back. Colour: how often the node's own decision is right, at the pixels "
        "of the classes below it. The table lists all nodes; their cards follow below."
    )
    alt = f"Tree of {len(nodes)} decisions over {len(result.notes['classes'])} classes. {caption}"
    block = FigureBlock(figure, "The tree", alt, caption, table(nodes, names), "icicle")
    return Section("tree", "The tree", "", [block])


def fidelity(result: Result) -> Section:
    notes = result.notes
    rows = rows_of(result, "fidelity")
    blocks: list[Block] = [
        TableBlock(
            Table(rows, result.tables["fidelity"].columns, LABELS),
            "The network and its tree",
            "Agreement: the share of pixels at which the same class is decided as by the network "
            f"as given. Boundaries: pixels within {notes['boundary_px']} px of another predicted "
            "class. Intervals of 95 % over images (or their groups); the change of mIoU is paired.",
        )
    ]
    trees = [row for row in rows if row["decided_by"] != "network" and "change" in row]
    if trees:
        figure = figures.intervals(
            [row["decided_by"] for row in trees],
            column(trees, "change"),
            column(trees, "change_low"),
            column(trees, "change_high"),
            value_name="change of mIoU against the network as given",
            reference=0.0,
        )
        caption = "Left of zero, deciding so costs mIoU. Compared with the published drops below."
        names = ["decided_by", "change", "change_low", "change_high"]
        blocks.append(
            FigureBlock(
                figure, "What the tree costs", caption, caption, table(trees, names), "cost"
            )
        )
    blocks.append(
        TableBlock(
            Table(rows_of(result, "published"), result.tables["published"].columns, LABELS),
            "As published",
            "HRNetV2-W48, trained with tree supervision; other data and another network, which "
            "were not reproduced. They stand here for their size.",
        )
    )
    blocks.append(
        TableBlock(
            Table(rows_of(result, "classes"), result.tables["classes"].columns, LABELS),
            "Class by class",
            "Agreement is counted where the network predicts the class.",
        )
    )
    return Section("fidelity", "How faithful the tree is", "", blocks)


def wrong(result: Result) -> Section:
    notes = result.notes
    depths = rows_of(result, "depths")
    reference = "the labels" if notes["labelled"] else "the network's own class (no labels)"
    names = [f"depth {row['depth']}" for row in depths]
    figure = two_bars(names, _both(depths, "tree_hard", "network"), "share of wrong pixels")
    caption = (
        f"Wrong against {reference}. Each wrong pixel counts at the depth of the first decision "
        "that leaves the true path; depth 0 is the root. For the network's own errors that is "
        "where the paths to its class and to the true one part."
    )
    keys = [
        "depth",
        "tree_hard",
        "tree_hard_low",
        "tree_hard_high",
        "network",
        "network_low",
        "network_high",
        "by_chance",
    ]
    found = table(depths, keys, by_chance="by chance, if classes met at random")
    heading = "Depth of the first wrong decision"
    blocks: list[Block] = [FigureBlock(figure, heading, caption, caption, found, "depths")]
    nodes = rows_of(result, "nodes")
    nodes.sort(key=lambda r: -max(r["wrong_share"] or 0, r["network_wrong_share"] or 0))
    nodes = [row for row in nodes if row["wrong_share"] or row["network_wrong_share"]][:MOST]
    if nodes:
        names = [f"{row['node']}: {row['question']}" for row in nodes]
        series = _both(nodes, "wrong_share", "network_wrong_share")
        figure = two_bars(names, series, "share of wrong pixels")
        caption = (
            "The node at which wrong pixels leave the true path, each decider's wrong pixels "
            "taken together. Where the tree's bar is long and the network's is not, the tree is to "
            "blame; where both are, the network."
        )
        keys = [
            "node",
            "question",
            "depth",
            "wrong_share",
            "wrong_share_low",
            "wrong_share_high",
            "network_wrong_share",
            "network_wrong_share_low",
            "network_wrong_share_high",
        ]
        heading = "The nodes where it goes wrong"
        found = table(nodes, keys)
        blocks.append(FigureBlock(figure, heading, caption, caption, found, "wrong-nodes"))
    blocks.append(
        TableBlock(
            Table(rows_of(result, "confusions"), result.tables["confusions"].columns, LABELS),
            "Which classes are taken for which",
            "Pixels of the tree's hard decisions, and of the network's own for the same pair.",
            limit=40,
        )
    )
    return Section("wrong", "Where wrong decisions are made", "", blocks)


def removal(result: Result) -> Section:
    notes = result.notes
    blocks: list[Block] = []
    evidence = sorted(rows_of(result, "evidence"), key=lambda r: r["effect"])
    if evidence:
        shown = evidence[:MOST]
        figure = _forest(shown, [f"{r['node']} → {r['branch']}" for r in shown])
        caption = (
            f"At most {notes['removed_share']:.0%} of the image, where {notes['evidence'][0]} is "
            "strongest for the branch, is filled; from the change of the branch's margin that of "
            "the same shape at random places is taken off. Left of zero: the decision rests on "
            "what the map shows. Filled: Holm-corrected p at most 0.05."
        )
        keys = [
            "node",
            "branch",
            "images",
            "margin",
            "removed",
            "by_chance",
            "effect",
            "effect_low",
            "effect_high",
            "detectable",
            "p",
            "p_holm",
        ]
        blocks.append(
            FigureBlock(figure, "Without its evidence", caption, caption,
                        table(evidence, keys, effect="removed minus chance"), "gone")
        )  # fmt: skip
    parts = sorted(rows_of(result, "parts"), key=lambda r: -abs(r["effect"]))
    if parts:
        first = [r for r in parts if r["p_holm"] is not None and r["p_holm"] <= ALPHA] or parts
        first = sorted(first, key=lambda r: r["part"] != "known context")[:MOST]
        figure = _forest(first, [_short(row) for row in first])
        caption = (
            "A part of the image (the region where a class is predicted, or the context that the "
            "data set says to matter) is filled, and the branch's margin read at the pixels "
            "that are left. Left of zero: the decision leans on that part. Branches of which the "
            "part holds more than half are left out."
        )
        keys = [
            "node",
            "question",
            "branch",
            "part",
            "images",
            "effect",
            "effect_low",
            "effect_high",
            "detectable",
            "p",
            "p_holm",
        ]
        blocks.append(
            FigureBlock(figure, "Without a part of the image", caption, caption,
                        table(parts, keys), "parts")
        )  # fmt: skip
    if not blocks:
        blocks.append(Prose("No branch was taken by enough pixels of the images studied."))
    images = notes["evidence_images"]
    text = f"Margins are in logits: the branch's score minus its rivals', in {images} images."
    return Section("removal", "What decisions rest on", text, blocks)


def _short(row: Row) -> str:
    first, *others = row["branch"].split(",")
    part = "context" if row["part"] == "known context" else row["part"]
    return f"{row['node']} → {first}{'…' if others else ''} · {part}"


def _both(rows: Sequence[Row], tree: str, network: str) -> dict[str, Any]:
    return {
        name: (column(rows, key), column(rows, f"{key}_low"), column(rows, f"{key}_high"))
        for name, key in (("tree, hard", tree), ("network", network))
    }


def _forest(rows: Sequence[Row], names: Sequence[str]) -> Any:
    return figures.intervals(
        names,
        column(rows, "effect"),
        column(rows, "effect_low"),
        column(rows, "effect_high"),
        value_name="change of margin",
        reference=0.0,
        significant=np.array([r["p_holm"] is not None and r["p_holm"] <= ALPHA for r in rows]),
    )

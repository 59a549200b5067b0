"""The sections of a SegNBDT report on how far to believe it: calibration, chance, tuning."""

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import Facts, Notice, Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.saved import Result
from conceptseg.study.segnbdt.columns import ACCURACY, CALIBRATION, COLUMNS, ENTROPY

DRAWN = 6


def calibration(result: Result) -> Section:
    nodes = result.tables["nodes"]
    most = nodes.sorted(lambda row: -row["pixels"]).first(DRAWN).rows
    names = {row["node"]: f"{row['node']}: {row['question']}" for row in most}
    order = list(names)
    bins = result.tables["calibration"].where(lambda row: row["node"] in names)
    chart = charts.trade_off(
        bins.sorted(lambda row: order.index(row["node"])),
        lambda row: names[row["node"]],
        Column("confidence", "confidence in the branch"),
        Column("accuracy", "share right"),
        diagonal="calibrated",
        span=(0.5, 1.0),
        heading="Confidence and accuracy",
        caption="The nodes of most pixels. Below the diagonal a node is overconfident. "
        "Confidence is the probability of the branch that is taken.",
        id="calibrated",
        below=nodes.show(
            "node", "question", "pixels", ACCURACY.alone, "confidence", CALIBRATION, ENTROPY
        ),
    )
    return Section("calibration", "How well calibrated the nodes are", "", [chart])


def chance(result: Result) -> Section:
    notes = result.notes
    null = charts.histogram(
        np.asarray(result.arrays["null_agreement"]),
        {"this tree": notes["observed"]},
        value="agreement with the network, hard",
        null_name="agreement",
        quantiles=(0.0, 0.05, 0.5, 0.95, 1.0),
        heading="Against random trees",
        caption=f"{notes['random_trees']} random binary trees on the same pixels, drawn from "
        "judged images. A tree that does not beat them says nothing about how the classes are "
        "ordered.",
        id="null",
    )
    others = TableBlock(
        result.tables["trees"].headed(*COLUMNS),
        "Other trees",
        "Made from the same network in other ways, and compared on pixels of images that none of "
        "them was made from. The star is the network itself: one node with all classes.",
    )
    if notes["stability"] is None:
        return Section("chance", "How much is chance", "", [null, others])
    stability = Facts(
        (
            ("Likeness of redrawn trees", notes["stability"]),
            ("The least of 95 %", notes["stability_low"]),
            ("Likeness of random trees", notes["chance_likeness"]),
        ),
        "Stability of the tree",
    )
    how = Notice(
        "Likeness is the cophenetic correlation with the studied tree. Redrawn trees come from the "
        "weights' columns, or the images, drawn again with replacement. A node's support is the "
        "share of redrawn trees that hold the same group of classes: nodes of little support are "
        "an accident of the clustering.",
        heading="How to read it",
    )
    return Section("chance", "How much is chance", "", [null, others, stability, how])


def tuning(result: Result) -> Section | None:
    """The loss over the steps; None for a tree that was not tuned."""
    notes, table = result.notes, result.tables["tuning"]
    if not table.rows:
        return None
    what = "the last layer" if notes["tune"] == "head" else "all weights"
    how = "stopped early" if notes["stopped"] else "ran to its last step"
    chart = charts.curves(
        table,
        Column("step"),
        [Column("loss_checked", "checked images")],
        axis="loss per pixel (nats)",
        heading="Loss while tuning",
        caption=f"Cross entropy plus {notes['tree_weight']:g} times that of the tree, on images "
        "that were used neither for training nor for judging. "
        f"Training of {what} {how}; the best weights are kept, in the arrays that begin with "
        "`tuned`." + (" The tree's term is the published one." if notes["published_loss"] else ""),
    )
    return Section("tuning", "Tuning for the tree", "", [chart])

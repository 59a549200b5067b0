"""The sections of an ACE report, each from the result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, Facts, FigureBlock, Notice, Prose, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.ace.assess import ALPHA
from conceptseg.study.ace.pool import TAGS

Row = dict[str, Any]
STRONGEST = 25


def classes(result: Result, pairs: list[Row]) -> Section:
    classes = list(dict.fromkeys(row["class"] for row in pairs))
    concepts = sorted({row["concept"] for row in pairs})
    at = {(row["class"], row["concept"]): row for row in pairs}

    def grid(value: str) -> np.ndarray:
        return np.array(
            [[number(at[c, q][value]) for q in concepts] for c in classes], dtype=float
        ).reshape(len(classes), len(concepts))

    blocks: list[Block] = []
    if pairs:
        names = [f"concept {q}" for q in concepts]
        significant = {
            "Used (Holm)": grid("used") > 0,
            "Holm": grid("p_holm") <= ALPHA,
            "Benjamini-Hochberg": grid("p_bh") <= ALPHA,
            "uncorrected": grid("p") <= ALPHA,
        }
        for value, heading, caption in (
            (
                "loss",
                "Change of IoU when a concept is erased",
                "Blue: the class loses IoU without the concept. A dot marks pairs that pass the "
                "criterion chosen below the chart.",
            ),
            (
                "moves",
                "Change of score along a concept",
                "First-order change of the class's score when the layer moves from ordinary "
                "segments to those of the concept. Brown: the concept raises the score.",
            ),
        ):
            figure = figures.heatmap(
                grid(value),
                classes,
                names,
                value_name=result.tables["pairs"].labels[value],
                significant=significant,
            )
            table = Table(
                [
                    {
                        "class": c,
                        **{
                            n: number(at[c, q][value]) for n, q in zip(names, concepts, strict=True)
                        },
                    }
                    for c in classes
                ]
            )
            alt = f"Heat map of {len(classes)} classes by {len(concepts)} concepts. {caption}"
            blocks.append(FigureBlock(figure, heading, alt, caption, table, id=f"map-{value}"))
    blocks.append(
        TableBlock(
            result.tables["classes"],
            "The classes",
            "How well each class is segmented, and how much of the decision passes through the "
            "layer: the change of IoU when the whole layer is set to its mean. A small change "
            "means that skip connections carry the class, and that concepts of this layer speak "
            "for little of it.",
        )
    )
    return Section(
        "classes",
        "Which class uses which concept",
        "Every concept was tested with every class.",
        blocks,
    )


def erasure(result: Result, pairs: list[Row]) -> Section:
    rows = sorted((row for row in pairs if row["loss"] is not None), key=lambda r: r["loss"])
    rows = rows[:STRONGEST]
    blocks: list[Block] = []
    if rows:
        null = (_column(rows, "null_loss"), np.zeros(len(rows)))
        figure = figures.intervals(
            [_pair_name(row) for row in rows],
            _column(rows, "loss"),
            _column(rows, "loss_low"),
            _column(rows, "loss_high"),
            value_name="change of IoU",
            null=(np.minimum(*null), np.maximum(*null)),
            null_name="random directions",
            reference=0.0,
            significant=np.array([row["used"] for row in rows]),
            marks=("used", "not used"),
        )
        numbers = ("loss", "loss_low", "loss_high", "null_loss", "p_holm", "erased_images")
        table = _columns(result, rows, ("class", "concept", *numbers))
        caption = (
            f"The {len(rows)} largest losses, each with its 95 % interval over images (or their "
            "groups). The grey band reaches from zero to the mean loss when random directions of "
            "the layer are erased instead. Filled: used."
        )
        blocks.append(
            FigureBlock(figure, "What erasing a concept costs", caption, caption, table, "forest")
        )
    outside = [row for row in pairs if row["outside_loss"] is not None]
    outside = sorted(outside, key=lambda row: row["outside_loss"])[:STRONGEST]
    if outside:
        figure = figures.intervals(
            [_pair_name(row) for row in outside],
            _column(outside, "outside_loss"),
            _column(outside, "outside_low"),
            _column(outside, "outside_high"),
            value_name="change of IoU, erased outside only",
            reference=0.0,
            significant=np.array([row["from_context"] for row in outside]),
            marks=("acts from context", "does not"),
        )
        outside_numbers = ("outside_loss", "outside_low", "outside_high", "loss")
        caption = (
            "The concept is left alone where the class itself is predicted, and erased everywhere "
            "else. A loss here is context at work. Filled: acts from context."
        )
        table = _columns(result, outside, ("class", "concept", *outside_numbers))
        heading = "What erasing it around the object alone costs"
        blocks.append(FigureBlock(figure, heading, caption, caption, table, id="outside"))
    return Section(
        "erasure",
        "What a concept is worth",
        "A concept is erased by taking away, at every position, what the layer has along its "
        "direction in excess of segments without the concept; the rest of the network then runs as "
        "it is.",
        blocks,
    )


def where(result: Result, pairs: list[Row]) -> Section:
    rows = [row for row in pairs if row["used"] and row["inside"] is not None]
    if not rows:
        rows = [row for row in pairs if row["inside"] is not None and (row["moves"] or 0) > 0]
    rows = sorted(rows, key=lambda row: number(row["loss"]))[:STRONGEST]
    blocks: list[Block] = []
    if rows:
        shares = {tag: _column(rows, tag) for tag in TAGS}
        figure = figures.stacked_shares([_pair_name(row) for row in rows], shares)
        table = _columns(result, rows, ("class", "concept", *TAGS, "outside_share", "tcav_outside"))
        caption = (
            "Of the segments that stand for the concept, in images that hold the class: the share "
            "inside the class's predicted region, in the ring around it (a tenth of the image's "
            "diagonal), and elsewhere."
        )
        blocks.append(FigureBlock(figure, "Where it lives", caption, caption, table, id="lives"))
        points = np.stack([_column(rows, "tcav"), _column(rows, "tcav_outside")], axis=1)
        figure = figures.scatter_map(
            points,
            [row["class"] for row in rows],
            [_pair_name(row) for row in rows],
            x_name="TCAV (share of images with a positive derivative)",
            y_name="TCAV of the part outside the region",
            size_px=10,
            equal=True,
        )
        table = _columns(result, rows, ("class", "concept", "tcav", "tcav_outside", "p_tcav"))
        caption = (
            "TCAV counts the images in which the score rises along the concept; 0.5 is no "
            "tendency. On the upward axis only positions outside the class's region count. TCAV "
            "takes the gradient at the images themselves, where a network that is sure of itself "
            "is flat, and where all images agree its test has no power: it is shown for parity."
        )
        blocks.append(
            FigureBlock(figure, "From inside or outside", caption, caption, table, "tcav")
        )
    return Section("where", "Where the concepts live", "", blocks)


def chance(result: Result, pairs: list[Row]) -> Section:
    blocks: list[Block] = []
    calibration = result.tables["calibration"]
    if calibration.rows:
        rate = float(np.mean([row["false_positive_rate"] for row in calibration.rows]))
        total = sum(row["random_concepts"] for row in calibration.rows)
        published = [row["p_published"] for row in pairs if row["p_published"] is not None]
        share = float(np.mean([p <= ALPHA for p in published])) if published else float("nan")
        blocks.append(
            Prose(
                f"The test was tried on {total} random concepts (sets of segments of the same "
                f"make-up as a real one): it called {rate:.1%} of them significant at 0.05. "
                f"The published TCAV test, which is shown for parity only and is not calibrated, "
                f"calls {share:.0%} of the real pairs significant before any correction."
            )
        )
        blocks.append(TableBlock(calibration, "The test on random concepts"))
    strongest = sorted((row for row in pairs if row["used"]), key=lambda row: row["loss"])[:1]
    strongest = strongest or sorted(pairs, key=lambda row: row["p_moves"])[:1]
    if strongest and "null_moves" in result.arrays:
        row = strongest[0]
        classes = [result.notes["classes"][c] for c in result.arrays["null_class"]]
        null = result.arrays["null_moves"][classes.index(row["class"]), row["concept"] - 1]
        figure = figures.null_histogram(
            null, {_pair_name(row): row["moves"]}, value_name="change of score along the concept"
        )
        table = Table([
            {"quantile": q, "by chance": float(np.quantile(null, q))}
            for q in (0.0, 0.025, 0.25, 0.5, 0.75, 0.975, 1.0)
        ])  # fmt: skip
        caption = (
            f"Random concepts with as many segments, images and places as that of "
            f"{_pair_name(row)}, and the concept itself."
        )
        blocks.append(
            FigureBlock(figure, "Observed against chance", caption, caption, table, id="null")
        )
    control = result.notes["control"]
    if control["pairs"]:
        blocks.append(
            Facts(
                (
                    ("Images", control["images"]),
                    ("Pairs tested", control["pairs"]),
                    ("Significant, trained network", control["trained"]),
                    ("Significant, weights shuffled", control["shuffled"]),
                ),
                "Control: the score test with the network's weights shuffled",
            )
        )
        blocks.append(
            Notice(
                "Images differ in texture even to a network that has learnt nothing, so a shuffled "
                "network can show significant score changes. What it cannot show is a loss of IoU, "
                "which is why a use needs both.",
                heading="How to read the control",
            )
        )
    blocks.append(
        TableBlock(
            result.tables["choices"],
            "How many concepts",
            "Mean adjusted Rand index between clusterings of bootstrap draws of the images.",
        )
    )
    return Section("chance", "How much is chance", "", blocks)


def all_pairs(result: Result) -> Section:
    block = TableBlock(result.tables["pairs"], folded=False, limit=400)
    text = (
        "A use needs a Holm-corrected p of both effects together of at most 0.05 within its class, "
        "a positive change of score, and an interval of the IoU change below zero."
    )
    return Section("pairs", "Every class and concept", text, [block])


def _pair_name(row: Row) -> str:
    return f"{row['class']} · concept {row['concept']}"


def number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([number(row[name]) for row in rows], dtype=float)


def _columns(result: Result, rows: list[Row], names: Sequence[str]) -> Table:
    return Table([{name: row[name] for name in names} for row in rows], tuple(names),
                 result.tables["pairs"].labels)  # fmt: skip

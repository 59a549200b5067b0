"""The sections of an L-CRP report, each from the result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, Facts, FigureBlock, Notice, Prose, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.lcrp import charts
from conceptseg.study.lcrp.tables import channel_name
from conceptseg.study.lcrp.verdicts import told_of_tests

Row = dict[str, Any]
LEAST_KEPT, MOST_KEPT = 0.3, 1.1
FAR, APART = 0.4, 0.2
"""A sensitivity is told as unexplained when it lies this far above score and other classes."""


CLASS_LABELS = {
    "acting": "channels that act",
    "not_acting": "that do not",
    "unknown": "cannot be told",
    "context": "context score",
    "shuffled": "with shuffled weights",
    "over_shuffled": "excess over that",
    "field": "spread evenly",
    "over_field": "excess over this",
    "sensitivity": "background sensitivity",
    "through": "relevance through the layer",
    "covered": "share of relevance that was looked at",
    "complexity": "share of channels that hold 80 % of it",
    "variation": "mean deviation of a channel's share",
    "largest": "largest context score of a channel",
}


def number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def named(row: Row) -> str:
    """The row's channel, with what a dissection says that it detects."""
    return channel_name(row["unit"], row["label"])


def told(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "not known"
    value = round(value, 2) + 0.0  # no minus before a zero
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def span(row: Row, name: str, signed: bool = False) -> str:
    """A number with its interval, as words."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is None or high is None:
        return told(row[name], signed)
    return f"{told(row[name], signed)} [{told(low)}, {told(high)}]"


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([number(row[name]) for row in rows], np.float64)


def part(result: Result, name: str, rows: Sequence[Row], columns: Sequence[str]) -> Table:
    labels = result.tables[name].labels
    return Table([{c: row[c] for c in columns} for row in rows], tuple(columns), labels)


def acting(result: Result, rows: list[Row]) -> Section:
    """The plain list of what acts from context, strongest first, and the classes."""
    points = by_class(rows)
    blocks: list[Block] = []
    if points:
        blocks.append(Prose("By class, strongest first:", points, id="acting"))
    else:
        blocks.append(Notice("No channel was shown to act from context.", id="acting"))
    blocks.append(Prose("", told_of_tests(result, rows), id="tests"))
    unseen = unexplained([dict(row) for row in result.tables["classes"].rows])
    if unseen:
        text = (
            "These classes lose their relevance with the background although little of it lies "
            "there: they may be decided by what is absent, or by what their rivals find in the "
            "background."
        )
        if not result.notes["reference"]:
            text += (
                " Rules that share out what is there cannot show what silences a rival's units; "
                "run the study again with composite: rescale, which shares out changes from a "
                "reference."
            )
        blocks.append(
            Notice(
                text,
                "warning",
                "Sensitive to what their maps do not show",
                tuple(unseen),
                "unexplained",
            )
        )
    blocks += class_tables([dict(row) for row in result.tables["classes"].rows])
    return Section(
        "context",
        "What acts from context",
        "A channel acts from context where more of its conditional map lies outside of the "
        "class's region than shuffled weights would place there, over images drawn at random, "
        "after correction for all channels and classes; more than shuffled networks reach with "
        "any channel; and more than if relevance spread evenly over the receptive field (which "
        "alone is tested where fewer than three of them have relevance). It does not where all of "
        "the 95 % interval lies below shuffled weights or below the even spread. Else it cannot "
        "be told.",
        blocks,
    )


def by_class(rows: Sequence[Row]) -> tuple[str, ...]:
    """Of each class its channels that act from context, strongest first, in one line."""
    acting = sorted((r for r in rows if r["acts"]), key=excess, reverse=True)
    found: dict[str, list[str]] = {}
    for row in acting:
        line = f"{named(row)}, {row['context']:.0%} outside and {row['relevance']:.1%} of relevance"
        found.setdefault(row["class"], []).append(line)
    return tuple(f"{name}: " + "; ".join(lines) + "." for name, lines in found.items())


def excess(row: Row) -> float:
    """How far a channel's context score lies above the baseline that it is tested against."""
    return number(row["over_field" if row["over_shuffled"] is None else "over_shuffled"])


def class_tables(rows: Sequence[Row]) -> list[Block]:
    """What classes take from context, and how their relevance is spread over the channels."""
    context = [
        {
            "class": row["class"],
            **{name: row[name] for name in ("acting", "not_acting", "unknown")},
            "context": span(row, "context"),
            "shuffled": row["shuffled"],
            "over_shuffled": span(row, "over_shuffled", signed=True),
            "field": row["field"],
            "over_field": span(row, "over_field", signed=True),
            "sensitivity": span(row, "sensitivity"),
        }
        for row in rows
    ]
    spread = [
        {
            "class": row["class"],
            "images": row["images"],
            "through": span(row, "through"),
            **{name: row[name] for name in ("covered", "complexity", "variation", "largest")},
        }
        for row in rows
    ]
    return [
        TableBlock(
            Table(context, labels=CLASS_LABELS),
            "The classes",
            "Context scores of the channels that were looked at, weighed by relevance, over images "
            "drawn at random, beside what they are without any use of context: with shuffled "
            "weights, and for relevance that spreads evenly over the receptive field. 95 % "
            "intervals in brackets.",
            "class-table",
        ),
        TableBlock(
            Table(spread, labels=CLASS_LABELS),
            "How their relevance is spread",
            "'Relevance through the layer' is the layer's part of the decision; the rest passes it "
            "by.",
            "spread-table",
        ),
    ]


def unexplained(rows: Sequence[Row]) -> list[str]:
    """Classes whose sensitivity stands out from the others' and is not foretold by their score."""
    known = [r for r in rows if r["sensitivity"] is not None and r["context"] is not None]
    found = []
    for row in known:
        others = [r["sensitivity"] for r in known if r is not row]
        apart = bool(others) and row["sensitivity"] - max(others) > APART
        if apart and row["sensitivity"] - row["context"] > FAR:
            found.append(
                f"{row['class']}: replacing the background changes its channels' relevance by "
                f"{row['sensitivity']:.0%} (other classes: up to {max(others):.0%}), while "
                f"{row['context']:.0%} of its maps lies there."
            )
    return found


def bars(result: Result, rows: list[Row]) -> Section:
    blocks: list[Block] = []
    for name in dict.fromkeys(row["class"] for row in rows):
        mine = [row for row in rows if row["class"] == name]
        figure = charts.coloured_bars(
            [f"channel {row['unit']}" for row in mine],
            column(mine, "relevance"),
            column(mine, "context"),
            value_name="mean share of relevance",
            colour_name="context score",
        )
        alt = f"Bars of the {len(mine)} most relevant channels of {name}, by context score."
        table = part(
            result,
            "scores",
            mine,
            (
                *("unit", *(["label"] if any(row["label"] for row in mine) else [])),
                *("relevance", "context", "context_low", "context_high"),
            ),
        )
        caption = "Length: share of the class's relevance. Colour: context score, random images."
        block_id = f"bars-{list(result.notes['classes']).index(name)}"
        blocks.append(FigureBlock(figure, name, alt, caption, table, block_id))
    return Section(
        "concepts-by-class",
        "What each class rests on",
        "Channels of the layer by the relevance that they hold, averaged over all images that "
        "show the class.",
        blocks,
    )


def sensitivity(result: Result, rows: list[Row]) -> Section:
    able = [row for row in rows if row["sensitivity"] is not None and row["top"] is not None]
    blocks: list[Block] = []
    if able:
        figure = charts.switched_scatter(
            column(able, "top"),
            column(able, "sensitivity"),
            [row["class"] for row in able],
            [f"{row['class']}, {named(row)}" for row in able],
            [bool(row["acts"]) for row in able],
            ("published",),
            x_name="context score (most relevant images)",
            y_name="background sensitivity",
        )
        caption = (
            "Where the score holds what it promises, points lie near the diagonal: a channel whose "
            "map is all context loses its relevance with the background."
        )
        table = part(result, "scores", able, ("class", "unit", "top", "sensitivity"))
        blocks.append(
            FigureBlock(
                figure, "Context score and measured sensitivity", caption, caption, table, "sense"
            )
        )
    blocks.append(
        TableBlock(
            result.tables["agreement"],
            "Agreement",
            "In the paper's own experiments (LRP, four networks, three layers) the correlation was "
            "0.69 on average for the L-CRP map (0.46 to 0.70 for a U-Net), 0.67 for relevance at "
            "the layer and 0.65 for the activation; root mean squared differences were 0.18, 0.20 "
            "and 0.41. Intervals draw pairs of class and channel, which are not independent.",
            "agreement",
        )
    )
    return Section(
        "sensitivity",
        "Does the score foretell what the background does?",
        "Background replaced by grey noise, colour noise, black and a random colour, wholly and "
        "by half; the mean relative change of each channel's relevance, weighed by relevance, over "
        f"objects of more than {result.notes['instance_pixels']} pixels."
        + (
            " Changes stay counted from the reference of the untouched image."
            if result.notes["reference"]
            else ""
        ),
        blocks,
    )


def flipping(result: Result) -> Section:
    blocks: list[Block] = []
    if "flip_mean" in result.arrays:
        share = np.asarray(result.arrays["flip_share"], float)
        names: Sequence[str] = result.notes["flip_methods"]
        mean, random = result.arrays["flip_mean"], np.asarray(result.arrays["flip_random"], float)
        series = {name: np.asarray(mean[i], float) for i, name in enumerate(names)}
        series["random orders"] = random.mean(0)
        bands = {"random orders": (random.min(0), random.max(0))}
        figure = figures.curves(
            share,
            series,
            bands,
            x_name="share of channels flipped",
            y_name="change of the class's logit",
        )
        table = Table(
            [
                {"share": float(s), **{n: float(v[i]) for n, v in series.items()}}
                for i, s in enumerate(share)
            ]
        )
        caption = (
            "Mean over images and classes. The band spans the random orders, each averaged alike."
        )
        blocks.append(
            FigureBlock(figure, "Flipping curves", caption, caption, table, "flipping-curves")
        )
    blocks.append(TableBlock(result.tables["flipping"], "Areas", id="flipping-areas"))
    blank = "what they are in the reference" if result.notes["reference"] else "zero"
    verb = f"set to {blank}"
    if result.notes["flip_mode"] == "insert":
        verb = f"put in, all others {verb}"
    return Section(
        "flipping",
        "Is the order of channels faithful?",
        f"Channels are {verb}, the most relevant first, and the rest of the network runs on. "
        "Removing: the lower the curve, the better the order; inserting: the higher. Every order "
        "is made for the predicted region; the logit is read on the object.",
        blocks,
    )


def retained(result: Result) -> Section:
    kept = result.notes["kept"]
    given = kept["given"] or float("nan")
    share = kept["reached"] / given
    bias = "take no relevance" if result.notes["zero_bias"] else "take their part"
    if result.notes["reference"]:
        bias = "cancel between image and reference"
    facts = Facts(
        [
            ("Rules", rules_of(result)),
            ("Biases", bias),
            ("Norms folded into the layer before", f"{kept['folded']} of {kept['norms']}"),
            ("Relevance that reached the image", f"{share:.1%}"),
            ("Relevance through the layer", f"{kept['at_layer'] / given:.1%}"),
            ("Images", kept["images"]),
        ]
    )
    return Section(
        "retained",
        "What the rules retain",
        "Relevance should be handed on whole."
        if result.notes["reference"]
        else "Relevance should be handed on whole. What a module loses went to its bias, or met "
        "sums without a positive part; what it gains comes from sums near zero.",
        [*doubt(share), facts, TableBlock(result.tables["retained"], "By module", folded=True)],
    )


def rules_of(result: Result) -> str:
    """The composite, and for `rescale` what changes are counted from."""
    name = str(result.notes["composite"]).replace("_", " ")
    reference = result.notes["reference"]
    return f"{name}, changes from a reference ({reference})" if reference else name


def doubt(share: float) -> list[Block]:
    """A warning where the maps show little of the relevance, or much that is none."""
    if LEAST_KEPT <= share <= MOST_KEPT:
        return []
    why = "grew on the way" if share > MOST_KEPT else "was lost on the way"
    text = (
        f"{share:.3g} of the relevance reached the image: much {why}. Maps and context scores are "
        "to be doubted; epsilon_plus, which makes no relevance, is the safest composite."
    )
    return [Notice(text, "warning", "Relevance is not conserved", id="doubt")]


def everything(result: Result) -> Section:
    block = TableBlock(result.tables["scores"], "Every channel that was looked at", id="scores")
    return Section("all", "All numbers", "", [block])

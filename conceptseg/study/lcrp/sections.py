"""The sections of an L-CRP report, each from the result alone."""

from dataclasses import replace

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import Block, Notice, OneOf, Prose, Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.lcrp.charts import coloured, hollow
from conceptseg.study.lcrp.classes import FROM_CONTEXT, SPREAD
from conceptseg.study.lcrp.exhibits import title
from conceptseg.study.lcrp.tables import (
    CONTEXT,
    LESS,
    RELEVANCE,
    SENSITIVITY,
    TOP,
    UNKNOWN,
    excess,
    name_of,
    shown,
)
from conceptseg.study.lcrp.verdicts import by_class, on_tests, unexplained


def acting(result: Result) -> Section:
    """The plain list of what acts from context, strongest first, and the classes."""
    scores, classes = result.tables["scores"], result.tables["classes"]
    lines = by_class(scores.where(lambda row: row["acts"]).sorted(lambda row: -excess(row)))
    return Section(
        "context",
        "What acts from context",
        "A channel acts from context where more of its conditional map lies outside of the "
        "class's region than shuffled weights would place there, over images drawn at random, "
        "after correction for all channels and classes; more than shuffled networks reach with "
        "any channel; and more than if relevance spread evenly over the receptive field (which "
        "alone is tested where fewer than three of them have relevance). Nothing here shows that a "
        "channel does not act from it: where all of the 95 % interval lies below shuffled weights "
        "or below the even spread, its maps hold less context than comes by chance. All other "
        "pairs are inconclusive.",
        [
            Prose("By class, strongest first:", lines, id="acting")
            if lines
            else Notice("No channel was shown to act from context.", id="acting"),
            Prose("", on_tests(result, scores), id="tests"),
            _unexplained(result),
            TableBlock(
                _spans(classes, FROM_CONTEXT),
                "The classes",
                "Context scores of the channels that were looked at, weighed by relevance, over "
                "images drawn at random, beside what they are without any use of context: with "
                "shuffled weights, and for relevance that spreads evenly over the receptive field. "
                "95 % intervals in brackets.",
                "class-table",
            ),
            TableBlock(
                _spans(classes, SPREAD),
                "How their relevance is spread",
                "'Relevance through the layer' is the layer's part of the decision; the rest "
                "passes it by.",
                "spread-table",
            ),
        ],
    )


def _unexplained(result: Result) -> Notice | None:
    lines = unexplained(result.tables["classes"].rows)
    text = (
        "These classes lose their relevance with the background although little of it lies there: "
        "they may be decided by what is absent, or by what competing classes see in the background."
    )
    if not result.notes["reference"]:
        text += (
            " Rules that share out what is there cannot show what suppresses a competing class; "
            "run the study again with composite: rescale, which shares out changes from a "
            "reference."
        )
    heading = "Sensitive to what their maps do not show"
    return Notice(text, "warning", heading, lines, "unexplained") if lines else None


def _spans(table: Table, columns: tuple[Column | str, ...]) -> Table:
    """These columns of a table, numbers with their intervals as texts."""
    declared = [Column(one) if isinstance(one, str) else one for one in columns]
    return Table.of(table.rows, [shown(one) for one in declared])


def bars(result: Result) -> Section:
    blocks = []
    for name, table in result.tables["scores"].by("class").items():
        labels = ["label"] if any(row["label"] for row in table.rows) else []
        block = charts.bars(
            table,
            name_of,
            {RELEVANCE.name: RELEVANCE},
            axis="mean share of relevance",
            heading=name,
            caption="Length: share of the class's relevance. Colour: context score, random images.",
            id=f"bars-{list(result.notes['classes']).index(name)}",
            below=table.show("unit", *labels, RELEVANCE, CONTEXT),
        )
        blocks.append(block and coloured(block, table, name_of, CONTEXT))
    return Section(
        "concepts-by-class",
        "What each class rests on",
        "Channels of the layer by the relevance that they hold, averaged over all images that "
        "show the class.",
        [OneOf(drawn, "Class", id="bars")] if (drawn := [one for one in blocks if one]) else [],
    )


def sensitivity(result: Result) -> Section:
    scores = result.tables["scores"].where(
        lambda row: row["sensitivity"] is not None and row["top"] is not None
    )
    block = charts.scatter(
        scores,
        TOP,
        SENSITIVITY,
        "class",
        title,
        heading="Context score and measured sensitivity",
        caption="If the score keeps its promise, points lie near the diagonal: a channel whose "
        "map is all context loses its relevance with the background. Filled: acts from context.",
        id="sense",
        below=scores.show("class", "unit", TOP.alone, SENSITIVITY.alone),
    )
    if block is not None:
        hollow(block, scores)
    return Section(
        "sensitivity",
        "Does the score predict what the background does?",
        "Background replaced by grey noise, colour noise, black and a random colour, wholly and "
        "by half; the mean relative change of each channel's relevance, weighed by relevance, over "
        f"objects of more than {result.notes['instance_pixels']} pixels."
        + (
            " Changes stay counted from the reference of the untouched image."
            if result.notes["reference"]
            else ""
        ),
        [
            block,
            TableBlock(
                result.tables["agreement"],
                "Agreement",
                "In the paper's own experiments (LRP, four networks, three layers) Pearson's "
                "correlation was 0.69 on average for the L-CRP map (0.46 to 0.70 for a U-Net), "
                "0.67 for relevance at the layer and 0.65 for the activation; root mean squared "
                "differences were 0.18, 0.20 and 0.41. Intervals draw channels, each with all its "
                "classes, and hold for these images"
                + (
                    "; Pearson's correlation, which a few large numbers can decide, has none."
                    if "pearson" in result.tables["agreement"].columns
                    else "."
                ),
                "agreement",
            ),
        ],
    )


def flipping(result: Result) -> Section:
    notes = result.notes
    blank = "what they are in the reference" if notes["reference"] else "zero"
    verb = f"set to {blank}"
    if notes["flip_mode"] == "insert":
        verb = f"put in, all others {verb}"
    return Section(
        "flipping",
        "Is the order of channels faithful?",
        f"Channels are {verb}, the most relevant first, and the rest of the network runs on. "
        "Removing: the lower the curve, the better the order; inserting: the higher. Every order "
        "is made for the predicted region; the logit is read on the object.",
        [
            _curves(result) if "flip_mean" in result.arrays else None,
            TableBlock(result.tables["flipping"], "Areas", id="flipping-areas"),
        ],
    )


def _curves(result: Result) -> Block | None:
    share, random = (np.asarray(result.arrays[f"flip_{key}"], float) for key in ("share", "random"))
    drawn = dict(zip(result.notes["flip_methods"], result.arrays["flip_mean"], strict=True))
    drawn["random orders"] = random.mean(0)
    places = Column("share", "share of channels flipped")
    return charts.curves(
        Table.of_columns({"share": share, **drawn}, labels=places.labels),
        places,
        [*drawn],
        axis="change of the class's logit",
        bands={"random orders": (random.min(0), random.max(0))},
        heading="Flipping curves",
        caption="Mean over images and classes. The band spans the random orders, each averaged "
        "in the same way.",
        id="flipping-curves",
    )


def everything(result: Result) -> Section:
    """All scores, their verdicts in a reader's words."""
    table = result.tables["scores"]
    words = {"acts": "yes", LESS: "not on its maps", UNKNOWN: "inconclusive"}
    rows = [{**row, "verdict": words.get(row["verdict"], words[LESS])} for row in table.rows]
    block = TableBlock(replace(table, rows=rows), "Every channel that was looked at", id="scores")
    return Section("all", "All numbers", "", [block])

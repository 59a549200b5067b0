"""The sections of an L-CRP report that show pictures."""

from __future__ import annotations

import numpy as np

from conceptseg.report.blocks import Block, Card, Cards, FigureBlock, Picture, Section
from conceptseg.result.saved import Result
from conceptseg.study.lcrp import charts
from conceptseg.study.lcrp.sections import Row, column, excess, named, part, span
from conceptseg.study.shared import local_maps

LEGEND = (
    "Brown: speaks for the class. Blue: against. The outline is the class's region; every picture "
    "has a scale of its own, and maps are blurred a little for the eye."
)


def scatter(result: Result, rows: list[Row]) -> Section:
    able = [row for row in rows if row["context"] is not None and row["relevance"] > 0]
    blocks: list[Block] = []
    if able:
        figure = charts.switched_scatter(
            np.maximum(column(able, "relevance"), 1e-6),
            column(able, "context"),
            [row["class"] for row in able],
            [f"{row['class']}, {named(row)}" for row in able],
            [bool(row["acts"]) for row in able],
            ("most relevant images", "most active images"),
            x_name="mean share of relevance",
            y_name="context score, random images",
            log_x=True,
        )
        hover = [_relevant(row) for row in able] + [_active(row) for row in able]
        caption = (
            "Point at a channel to see its reference images; the buttons switch between those in "
            "which it is most relevant for the class and those in which it is most active. Filled: "
            "acts from context. " + LEGEND
        )
        table = part(result, "scores", able, ("class", "unit", "relevance", "context", "acts"))
        blocks.append(
            FigureBlock(
                figure, "Relevance and context", caption, caption, table, "relevance-context", hover
            )
        )
    return Section("map", "How relevant, and how much of it context", "", blocks)


def cards(result: Result, rows: list[Row]) -> Section:
    acting = sorted((row for row in rows if row["acts"]), key=excess, reverse=True)
    rest = sorted((r for r in rows if not r["acts"]), key=lambda r: -(r["context"] or 0.0))
    return Section(
        "channels",
        "The channels",
        "First the images in which the channel is most relevant for the class, with its "
        "conditional map; then those in which it is most active, with its activation. What acts "
        "from context comes first, strongest first; the rest by context score. " + LEGEND,
        [Cards([_card(result, row) for row in (*acting, *rest)], shown=12)],
    )


def _card(result: Result, row: Row) -> Card:
    facts = [
        ("Share of relevance", f"{row['relevance']:.1%} (rank {row['rank']})"),
        ("Context score, random images", span(row, "context")),
        ("Context score, most relevant images", span(row, "top")),
        ("Above shuffled weights", span(row, "over_shuffled", signed=True)),
        ("Above the receptive field", span(row, "over_field", signed=True)),
        ("Background sensitivity", span(row, "sensitivity")),
    ]
    if row["seen_on"] is not None:
        facts.append(("Most outside lies on", f"{row['seen_on']} ({row['seen_share']:.0%})"))
    if row["tile"] is not None:
        known = f"{row['tile']:.0%} of what lies outside (area: {row['tile_chance']:.0%})"
        facts.append(("On the known context", known))
    badges = ["acts from context"] if row["acts"] else []
    return Card(
        f"{row['class']}: {named(row)}",
        facts,
        _row(result, _relevant(row)),
        badges,
        id=row["card"],
        beside=_row(result, _active(row)),
    )


def _relevant(row: Row) -> Picture:
    name = f"channel {row['unit']} for {row['class']}"
    return Picture(row["picture"], f"Images in which {name} is most relevant", "relevant")


def _active(row: Row) -> Picture:
    return Picture(row["active"], f"Images in which channel {row['unit']} is most active", "active")


def _row(result: Result, grid: Picture) -> list[Picture]:
    """The pictures of a grid one by one."""
    keys = [f"{grid.key}-{n}" for n in range(result.notes["exemplars"])]
    return [Picture(key, grid.alt, grid.caption) for key in keys if key in result.images]


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Where single images are looked at when the class is predicted, all channels together.",
    )

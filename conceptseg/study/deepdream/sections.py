"""The sections of a deepdream report, each from the result alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, FigureBlock, Gallery, Picture, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.deepdream.assess import SHORT
from conceptseg.study.deepdream.descriptors import NAMES, PREDICTED, RELATIVE
from conceptseg.study.shared import local_maps

Row = dict[str, Any]
NAN = float("nan")
CURVES_SHOWN = 6
WALKS = {
    "pixel": "pixel path",
    "phase": "phase path",
    "smooth": "random smooth path",
    "shuffled": "path of the shuffled network",
}

BRIEF = {"pixel": "pixels", "phase": "phases", "smooth": "random", "shuffled": "shuffled"}


def paths(result: Result) -> Section:
    """How much of the region flips, by kind of path and walk."""
    rows = [dict(row) for row in result.tables["paths"].rows]
    figure = figures.intervals(
        [f"{BRIEF[row['walk']]}, {row['path']}" for row in rows],
        _column(rows, "flipped"),
        _column(rows, "flipped_low"),
        _column(rows, "flipped_high"),
        value_name="share of the region flipped",
        significant=np.array([row["walk"] in ("pixel", "phase") for row in rows], dtype=bool),
        marks=("path of the network", "null path"),
    )
    caption = (
        "Mean over starts with 95 % intervals. The table says how long the paths are and how much "
        "of the change lies inside the region, which covers the share of the image beside it."
    )
    table = result.tables["paths"]
    block = FigureBlock(figure, "How far the regions flip", caption, caption, table, "flips")
    return Section(
        "paths",
        "The paths",
        "From each start a path is taken by changing pixels, and one by changing the phases of the "
        "image's own waves; two null paths are as long.",
        [
            block,
            TableBlock(result.tables["outside"], "Where the pixel paths change the image"),
            TableBlock(table, "All paths", folded=True),
        ],
    )


def cues(result: Result) -> Section:
    """What changes, and a quadrant plot of change on the path against the data's contrast."""
    rows = [dict(row) for row in result.tables["cues"].rows]
    routes = list(result.notes["routes"])
    names = [name for name in NAMES if name not in RELATIVE]
    at = {(row["path"], row["descriptor"]): row for row in rows}

    def grid(column: str) -> np.ndarray:
        return np.array(
            [[_number(at[route, name][column]) for route in routes] for name in names], dtype=float
        ).reshape(len(names), len(routes))

    claimed = np.array(
        [[at[r, n]["conclusion"] in _WORDS[:4] for r in routes] for n in names], dtype=bool
    )
    heat = figures.heatmap(
        np.clip(grid("pixel"), -5, 5),
        [NAMES[name] for name in names],
        routes,
        value_name="change on the pixel path (SD)",
        significant={"finding": claimed, "Benjamini-Hochberg": grid("p_bh") <= ALPHA},
    )
    caption = (
        "In standard deviations of the descriptor over regions of a class, cut at 5. A dot marks "
        "findings: beyond both null paths, the phase path agrees, corrected p at most 0.05."
    )
    columns = (
        "path", "what", "conclusion", "pixel", "low", "high", "phase", "smooth", "shuffled",
        "reach", "natural", "p_bh", "starts",
    )  # fmt: skip
    table = Table(rows, columns, result.tables["cues"].labels)
    blocks: list[Block] = [
        FigureBlock(heat, "What the paths change", caption, caption, table, "change")
    ]
    blocks.append(_quadrants(rows, table))
    shown = [row for row in rows if row["conclusion"] in _WORDS]
    if shown:
        blocks.append(
            TableBlock(Table(shown, columns, table.labels), "What must change, and what need not")
        )
    return Section("cues", "What must change", "", blocks)


_WORDS = (
    "as in the data",
    "against the data",
    "absent in the data",
    "not known in the data",
    "ignored",
    SHORT,
)


_ORDER = (*_WORDS, "no finding", "not testable")


def _quadrants(rows: list[Row], table: Table) -> FigureBlock:
    known = [
        row
        for row in rows
        if row["natural"] is not None
        and row["pixel"] is not None
        and row["descriptor"] not in PREDICTED
    ]
    points = np.array([[_number(r["natural"]), _number(r["pixel"])] for r in known])
    figure = figures.scatter_map(
        np.clip(points.reshape(-1, 2), -5, 5),
        [row["conclusion"] for row in known],
        [f"{row['what']}: {row['path']}" for row in known],
        order=[w for w in _ORDER if w in {row["conclusion"] for row in known}],
        x_name="classes differ in the data by (SD)",
        y_name="change on the pixel path (SD)",
        size_px=8,
    )
    figure.add_hline(y=0, line={"color": "#888888", "width": 1})
    figure.add_vline(x=0, line={"color": "#888888", "width": 1})
    caption = (
        "Top right and bottom left: the path goes the way the data do. Top left and bottom right: "
        "against the data. On the vertical axis: changes that no class shows. On the horizontal "
        "axis: what differs in the data and hardly changes; whether it is ignored, or the path too "
        "short to tell, the colour says. Cut at 5."
    )
    return FigureBlock(figure, "Paths against the data", caption, caption, table, "quadrants")


def curves(result: Result) -> Section:
    """Small multiples: the descriptors with the largest effects, along all four walks."""
    rows = [dict(row) for row in result.tables["curves"].rows]
    told = [dict(row) for row in result.tables["cues"].rows]
    ranked = sorted(
        (row for row in told if row["descriptor"] not in PREDICTED and row["pixel"] is not None),
        key=lambda row: (row["conclusion"] not in _WORDS[:4], -abs(_number(row["pixel"]))),
    )
    blocks: list[Block] = []
    for number, row in enumerate(ranked[:CURVES_SHOWN]):
        own = [one for one in rows if one["path"] == row["path"]]
        part = sorted({one["part"] for one in own})
        series = {
            words: np.array([_number(one[row["descriptor"]]) for one in own if one["walk"] == walk])
            for walk, words in WALKS.items()
        }
        figure = figures.curves(
            np.array(part), series, x_name="part of the path", y_name="change (SD)"
        )
        heading = f"{row['what'][0].upper()}{row['what'][1:]}: {row['path']}"
        caption = f"Mean over {row['starts']} starts. {row['conclusion'].capitalize()}."
        table = Table(
            [
                {"part": p, **{words: float(series[words][k]) for words in series}}
                for k, p in enumerate(part)
            ]
        )
        blocks.append(FigureBlock(figure, heading, caption, caption, table, f"curve-{number}"))
    return Section("curves", "Along the paths", "The strongest changes, findings first.", blocks)


def strips(result: Result) -> Section | None:
    """Film strips: the picture at each point of a path."""
    rows = [dict(row) for row in result.tables["strips"].rows]
    if not rows:
        return None
    points = len(rows[0]["pictures"])
    shown: list[tuple[str, list[Picture | None]]] = []
    for row in rows:
        name = f"{row['path']}, {WALKS[row['walk']]}"
        cells: list[Picture | None] = [
            Picture(key, f"{name}, {row['sample']}, point {k}", "", (row["outline"],))
            for k, key in enumerate(row["pictures"])
        ]
        shown.append((f"{name} ({_number(row['flipped']):.0%} flipped)", cells))
    heads = ["start", *(f"{k / (points - 1):.0%}" for k in range(1, points))]
    gallery = Gallery(heads, shown)
    intro = "The outline is the region whose class is to change; it stays where it is."
    return Section("strips", "Pictures along the paths", intro, [gallery])


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Where the network looks when it predicts the class. Such maps show places, not what is "
        "there.",
    )


def numbers(result: Result) -> Section:
    return Section(
        "numbers",
        "All numbers",
        "",
        [
            TableBlock(result.tables["cues"], "Every descriptor", folded=True, limit=1000),
            TableBlock(result.tables["starts"], "Every start", folded=True, limit=500),
        ],
    )


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([_number(row[name]) for row in rows], dtype=float)


def _number(value: Any) -> float:
    return NAN if value is None else float(value)

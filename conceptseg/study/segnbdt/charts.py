"""The tree as a chart to zoom into."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from conceptseg.report.colours import paint, stops
from conceptseg.report.figure_style import label, layout, small
from conceptseg.result.columns import as_number

LEVEL_PX = 58


def icicle(
    nodes: Sequence[Mapping[str, Any]], branches: Sequence[Mapping[str, Any]], classes: int
) -> go.Figure:
    """The root on top, classes as leaves of equal width; colour shows how often a node is right.

    `nodes` and `branches` are rows of the result's tables. Leaves are grey: they decide nothing. A
    click zooms into a part, a click on the strip above goes back.
    """
    by_number = {row["node"]: row for row in nodes}
    ids, parents, names, values = ["0"], [""], ["all classes"], [float(classes)]
    accuracy, hover = [by_number[0]["accuracy"]], [_words(by_number[0])]
    for row in branches:
        child = row["child"]
        ids.append(str(child) if child is not None else f"class-{row['class_id']}")
        parents.append(str(row["node"]))
        values.append(float(len(row["classes"])))
        names.append(label(row["name"], 30))
        accuracy.append(None if child is None else by_number[child]["accuracy"])
        hover.append(label(row["name"], 80) if child is None else _words(by_number[child]))
    shares = np.array([as_number(a) for a in accuracy], float)
    low = float(np.nanmin(shares)) if np.isfinite(shares).any() else 0.0
    colours = [_colour(value, low) for value in shares]
    figure = go.Figure(
        go.Icicle(
            ids=ids,
            parents=parents,
            labels=names,
            values=small(values),
            branchvalues="total",
            tiling={"orientation": "v"},
            sort=False,
            marker={"colors": colours, "line": {"width": 2, "color": "#ffffff"}},
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            textposition="middle center",
            textfont={"color": [_ink(colour) for colour in colours]},
            pathbar={"side": "top", "thickness": 26},
            root={"color": "rgba(0,0,0,0)"},
        ),
        layout(110 + LEVEL_PX * (2 + max(row["depth"] for row in nodes))),
    )
    _add_scale(figure, low)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 8, "b": 8}, uniformtext={"minsize": 9, "mode": "hide"}
    )
    return figure


def _add_scale(figure: go.Figure, low: float) -> None:
    """The colour scale, from `low` to 1: a scatter without points brings it."""
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [low],
            "cmin": low,
            "cmax": 1.0,
            "colorscale": stops("cividis"),
            "showscale": True,
            "colorbar": {
                "title": {"text": "right at", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
                "tickformat": ".0%",
            },
        },
    )


def _colour(value: float, low: float) -> str:
    if not np.isfinite(value):
        return "#c9d1d7"
    red, green, blue = paint(np.array([value]), low, 1.0, "cividis")[0].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _ink(colour: str) -> str:
    """Black or white, by the luminance (ITU-R BT.709) behind it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#111111" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 127 else "#ffffff"


def _words(row: Mapping[str, Any]) -> str:
    accuracy = row["accuracy"]
    right = "no pixel below it" if accuracy is None else f"right at {accuracy:.1%}"
    return f"node {row['node']}: {label(row['question'], 90)}<br>{right}"

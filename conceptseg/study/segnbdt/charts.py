"""The tree as a chart to zoom into."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from conceptseg.report.colours import paint, stops
from conceptseg.report.figure_style import label, layout, small
from conceptseg.result.columns import as_number

LEVEL_PX = 58
LEAF = (0xC9, 0xD1, 0xD7)


def icicle(
    nodes: Sequence[Mapping[str, Any]], branches: Sequence[Mapping[str, Any]], classes: int
) -> go.Figure:
    """The root on top, classes as leaves of equal width; colour shows how often a node is right.

    `nodes` and `branches` are rows of the result's tables. Leaves are grey: they decide nothing. A
    click zooms into a part, a click on the strip above goes back.
    """
    by_number = {row["node"]: row for row in nodes}
    parts: list[tuple[str, str, str, int, Any]] = [("0", "", "all classes", classes, by_number[0])]
    for row in branches:
        below = by_number.get(row["child"])
        own = f"class-{row['class_id']}" if below is None else str(row["child"])
        parts.append((own, str(row["node"]), row["name"], len(row["classes"]), below))
    ids, parents, names, sizes, deciding = zip(*parts, strict=True)
    shares = np.array([as_number(one and one["accuracy"]) for one in deciding])
    hover = [_words(one) if one else label(name, 80) for *_, name, _, one in parts]
    known = np.isfinite(shares)
    low = float(shares[known].min()) if known.any() else 0.0
    rgb = np.where(known[:, None], paint(shares, low, 1.0, "cividis"), LEAF)
    # Black or white, by the luminance (ITU-R BT.709) behind it.
    inks = np.where(rgb @ (0.2126, 0.7152, 0.0722) > 127, "#111111", "#ffffff").tolist()
    colours = ["#{:02x}{:02x}{:02x}".format(*row) for row in rgb.tolist()]
    figure = go.Figure(
        go.Icicle(
            ids=ids,
            parents=parents,
            labels=[label(name, 30) for name in names],
            values=small(sizes),
            branchvalues="total",
            tiling={"orientation": "v"},
            sort=False,
            marker={"colors": colours, "line": {"width": 2, "color": "#ffffff"}},
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            textposition="middle center",
            textfont={"color": inks},
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


def _words(row: Mapping[str, Any]) -> str:
    accuracy = row["accuracy"]
    right = "no pixel below it" if accuracy is None else f"right at {accuracy:.1%}"
    return f"node {row['node']}: {label(row['question'], 90)}<br>{right}"

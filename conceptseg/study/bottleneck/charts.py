"""Charts of a bottleneck report that no other report has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.report.colours import stops
from conceptseg.report.figure_style import label, layout, small, title

if TYPE_CHECKING:
    import plotly.graph_objects as go


def coloured_map(
    points: Mapping[str, np.ndarray],
    colours: Mapping[str, tuple[np.ndarray, str, float, float]],
    texts: Sequence[str],
) -> go.Figure:
    """Points [m, 2] of several maps, coloured by one of several numbers; buttons choose both.

    `colours` maps a name to its values [m], colour scale and ends. A point's customdata starts with
    its row, by which `FigureBlock.hover` is looked up; dragging draws a lasso.
    """
    import plotly.graph_objects as go

    figure = go.Figure(layout=layout(600))
    first = next(iter(colours))
    custom = [[row, label(text, 80)] for row, text in enumerate(texts)]
    for number, (name, at) in enumerate(points.items()):
        values, scale, low, high = colours[first]
        figure.add_scatter(
            x=small(at[:, 0]),
            y=small(at[:, 1]),
            mode="markers",
            name=label(name),
            visible=number == 0,
            marker={
                "color": small(values),
                "colorscale": stops(scale),
                "cmin": low,
                "cmax": high,
                "size": 9,
                "line": {"width": 0.5, "color": "#555555"},
                "colorbar": {"title": {"text": title(first, 26), "side": "right"}, "thickness": 12},
            },
            customdata=custom,
            hovertemplate="%{customdata[1]}<extra></extra>",
            showlegend=False,
        )
    by_colour = {
        name: {
            "marker.color": [small(values)],
            "marker.colorscale": [stops(scale)],
            "marker.cmin": low,
            "marker.cmax": high,
            "marker.colorbar.title.text": title(name, 26),
        }
        for name, (values, scale, low, high) in colours.items()
    }
    by_map = {name: {"visible": [other == name for other in points]} for name in points}
    menus = [_menu(by_colour), _menu(by_map)]
    figure.update_layout(updatemenus=menus, dragmode="lasso")
    bare = {"showticklabels": False, "ticks": "", "zeroline": False, "showgrid": False}
    figure.update_xaxes(**bare, showline=True, mirror=True)
    figure.update_yaxes(**bare, showline=True, mirror=True)
    return figure


def _menu(changes: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """A menu whose entries each change the traces."""
    return {
        "buttons": [
            {"label": name, "method": "restyle", "args": [change]}
            for name, change in changes.items()
        ]
    }


def predicted_against_true(
    predicted: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    quality: np.ndarray,
    inside: np.ndarray,
    texts: Sequence[str],
    name: str,
) -> go.Figure:
    """True quality over predicted quality, each image with its interval, and the line of equality.

    Images that are not `inside` their interval have another colour and shape.
    """
    import plotly.graph_objects as go

    figure = go.Figure(layout=layout(480))
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": "#888888", "dash": "dot"}, showlegend=False
    )
    ends = np.stack([low, high, np.full(len(low), np.nan)], 1).ravel()
    figure.add_scatter(
        x=small(np.repeat(predicted, 3)),
        y=small(ends),
        mode="lines",
        line={"color": "#b5c7d8", "width": 1.5},
        name="interval",
        hoverinfo="skip",
    )
    for where, colour, symbol, kind in (
        (inside, "#0072b2", "circle", "inside its interval"),
        (~inside, "#d55e00", "diamond", "outside of it"),
    ):
        rows = np.flatnonzero(where)
        figure.add_scatter(
            x=small(predicted[rows]),
            y=small(quality[rows]),
            mode="markers",
            name=kind,
            marker={"color": colour, "symbol": symbol, "size": 7},
            customdata=[[row, label(texts[row], 80)] for row in rows.tolist()],
            hovertemplate="%{customdata[1]}<br>predicted %{x:.2f}, true %{y:.2f}<extra></extra>",
        )
    figure.update_xaxes(title=f"predicted {name}", range=[-0.03, 1.03])
    figure.update_yaxes(title=f"true {name}", range=[-0.03, 1.03])
    return figure

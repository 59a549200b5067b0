"""What L-CRP's charts have beyond those of all studies: a second number as colour, hollow points,
and buttons that switch between two sets of pictures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go

from conceptseg.report import alt, charts
from conceptseg.report.blocks import FigureBlock, Shown
from conceptseg.report.colours import paint, stops
from conceptseg.report.figure_style import label, title
from conceptseg.result.columns import Column
from conceptseg.result.table import Table
from conceptseg.result.wording import number


def coloured(block: FigureBlock, table: Table, name: charts.Of, colour: Column) -> FigureBlock:
    """A chart of bars, a row each, whose colour shows a second number from 0 to 1."""
    names, values = charts.texts(table, name), table.numbers(colour)
    figure: go.Figure = block.figure
    painted = paint(np.nan_to_num(values), 0.0, 1.0, "cividis")
    figure.update_traces(
        width=0.72,
        showlegend=False,
        # Plotly takes numbers for colours of points, but not of bars: it warns of each.
        marker={"color": ["rgb({}, {}, {})".format(*one) for one in painted.tolist()]},
        customdata=[
            f"{label(one, 80)}<br>{label(colour.name)} {number(cell)}"
            for one, cell in zip(names, charts.cells(table, colour), strict=True)
        ],
    )
    for trace in figure.data:
        trace.marker.pattern = None
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [0.0],
            "cmin": 0.0,
            "cmax": 1.0,
            "colorscale": stops("cividis"),
            "showscale": True,
            "colorbar": {
                "title": {"text": title(colour.name, 26), "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
    )
    return replace(block, alt=f"{block.alt} Colour, {colour.name}: {alt.reach(values, names)}.")


def hollow(block: FigureBlock, scores: Table) -> go.Figure:
    """The figure of a scatter chart, with hollow points for channels that do not act."""
    figure: go.Figure = block.figure
    for trace in figure.data:
        symbol = trace.marker.symbol
        trace.marker.symbol = [
            symbol if scores.rows[row]["acts"] else f"{symbol}-open" for row, _ in trace.customdata
        ]
        trace.marker.line = {"width": 1.5, "color": trace.marker.color}
    return figure


def switched(block: FigureBlock, others: Sequence[Shown], switches: tuple[str, str]) -> FigureBlock:
    """A scatter chart whose buttons switch to other pictures of its points.

    Points are drawn once more for them: a picture beside the pointer is looked up by the number
    that a point's customdata begins with.
    """
    figure: go.Figure = block.figure
    traces = len(figure.data)
    for trace in figure.data:
        rows = [[row + len(others), text] for row, text in trace.customdata]
        figure.add_trace(go.Scatter({**trace.to_plotly_json(), "customdata": rows}, visible=False))
    menu = {
        "buttons": [
            {"label": name, "method": "restyle", "args": [{"visible": each}]}
            for name, each in zip(
                switches,
                ([True] * traces + [False] * traces, [False] * traces + [True] * traces),
                strict=True,
            )
        ],
    }
    # An update would write into the menus that are there, one by one.
    figure.layout.updatemenus = [menu, *(one.to_plotly_json() for one in figure.layout.updatemenus)]
    return replace(block, hover=[*block.hover, *others])

"""Figures of L-CRP that no other study draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from conceptseg.report.colours import CATEGORIES, stops
from conceptseg.report.figure_style import ROW_PX, SYMBOLS, label, layout, rows_axis, small, title


def coloured_bars(
    names: Sequence[str],
    values: np.ndarray,
    colours: np.ndarray,
    *,
    value_name: str,
    colour_name: str,
) -> go.Figure:
    """Horizontal bars whose colour tells a second number from 0 to 1."""
    values, colours = np.asarray(values, np.float64), np.asarray(colours, np.float64)
    figure = go.Figure(layout=layout(100 + ROW_PX * len(names)))
    figure.add_bar(
        x=small(values),
        y=np.arange(len(names)),
        orientation="h",
        width=0.72,
        showlegend=False,
        marker={
            "color": small(np.nan_to_num(colours)),
            "cmin": 0.0,
            "cmax": 1.0,
            "colorscale": stops("cividis"),
            "colorbar": {
                "title": {"text": title(colour_name, 26), "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
        customdata=[
            [label(name, 80), None if np.isnan(c) else round(float(c), 3)]
            for name, c in zip(names, colours, strict=True)
        ],
        hovertemplate="%{customdata[0]}<br>"
        + label(value_name)
        + " %{x:.3f}<br>"
        + label(colour_name)
        + " %{customdata[1]}<extra></extra>",
    )
    rows_axis(figure, names, value_name)
    return figure


def switched_scatter(
    x: np.ndarray,
    y: np.ndarray,
    categories: Sequence[str],
    texts: Sequence[str],
    filled: Sequence[bool],
    switches: Sequence[str],
    *,
    x_name: str,
    y_name: str,
    log_x: bool = False,
) -> go.Figure:
    """Points by category, drawn once for each switch; buttons choose which drawing is seen.

    A point's customdata starts with its row number plus `len(x)` times the switch's: pictures
    beside the pointer are looked up by it, so each switch shows pictures of its own.
    """
    figure = go.Figure(layout=layout(520))
    order = list(dict.fromkeys(categories))
    for number in range(len(switches)):
        for place, category in enumerate(order):
            rows = [i for i, one in enumerate(categories) if one == category]
            symbol = SYMBOLS[place // len(CATEGORIES) % len(SYMBOLS)]
            figure.add_scatter(
                x=small(np.asarray(x)[rows]),
                y=small(np.asarray(y)[rows]),
                mode="markers",
                name=label(category, 24),
                visible=number == 0,
                marker={
                    "color": CATEGORIES[place % len(CATEGORIES)],
                    "size": 9,
                    "line": {"width": 1.5, "color": CATEGORIES[place % len(CATEGORIES)]},
                    "symbol": [symbol if filled[i] else f"{symbol}-open" for i in rows],
                },
                customdata=[[i + number * len(x), label(texts[i], 80)] for i in rows],
                hovertemplate="%{customdata[1]}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
            )
    if len(switches) > 1:
        # Below the axis and its title, where the legend never is.
        menus = [_buttons(switches, len(order))]
        figure.update_layout(updatemenus=menus, height=580, margin={"b": 116})
    figure.update_xaxes(title=title(x_name), type="log" if log_x else "linear")
    figure.update_yaxes(title=title(y_name))
    return figure


def _buttons(switches: Sequence[str], traces: int) -> dict[str, object]:
    return {
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 62},
        "bgcolor": "#d3d9de",
        "font": {"color": "#1b1f24"},
        "showactive": True,
        "buttons": [
            {
                "label": name,
                "method": "restyle",
                "args": [
                    {
                        "visible": [
                            shown == number for shown in range(len(switches)) for _ in range(traces)
                        ]
                    }
                ],
            }
            for number, name in enumerate(switches)
        ],
    }

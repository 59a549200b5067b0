"""The look that all figures share: colours, axes, and names shown literally."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go

from conceptseg.report.colours import CATEGORIES

INK = "#0072b2"
MUTED = "#8c8c8c"
STRONG = "#d55e00"
GRID = "rgba(128,128,128,0.22)"
WHISKER = "#5f6b75"  # seen on bars, on white and on black
PALE = "#c9d1d7"
FAINT = "rgba(128,128,128,0.16)"
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
ROW_PX = 26
BAR_PX, LEAST_PX = 36, 216


def label(text: object, most: int = 32) -> str:
    """A name as Plotly shows it literally; of longer ones the middle is left out."""
    text = str(text)
    if len(text) > most:
        text = f"{text[: most * 3 // 5]}…{text[len(text) - (most * 2 // 5 - 1) :]}"
    return escape(text, quote=False)


def lines(text: object, most: int = 26) -> str:
    """A name as Plotly shows it, on two lines where one of `most` characters is too short; what
    does not fit these either loses its middle."""
    text = str(text)
    first = wrap(text, most)[0] if len(text) > most else text
    rest = text[len(first) :].strip() if text.startswith(first) else ""
    return label(first, most) + ("<br>" + label(rest, most) if rest else "")


def row_px(names: Sequence[object]) -> int:
    """The height in px of a row of a chart whose rows have these names."""
    return ROW_PX + 12 * any("<br>" in lines(name) for name in names)


def title(text: str, width: int = 36) -> str:
    """An axis title as Plotly shows it literally, on as many lines as a phone needs."""
    return "<br>".join(escape(line, quote=False) for line in wrap(text, width))


def small(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def ends_of_scale(
    values: np.ndarray,
    centre: float | None,
    low: float | None,
    high: float | None,
    least: float = 0.0,
) -> tuple[float, float]:
    """The ends of the scale: as given, else those of the data, symmetric around a centre.

    Around a centre it reaches `least` at least: what is smaller is not painted as if it were much.
    """
    finite = values[np.isfinite(values)]
    low = float(finite.min(initial=np.inf)) if low is None else low
    high = float(finite.max(initial=-np.inf)) if high is None else high
    if not low <= high:
        low, high = 0.0, 1.0
    if centre is not None:
        reach = max(high - centre, centre - low, least) or 1.0
        low, high = centre - reach, centre + reach
    return low, high


def error_bars(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str
) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": small(high - values),
        "arrayminus": small(values - low),
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def name_ticks(
    names: Sequence[str], most: int = 26, shown: Callable[[str, int], str] = label
) -> dict[str, Any]:
    """A tick for each name, all drawn: Plotly by itself leaves out those that reach too far."""
    return {
        "ticklabeloverflow": "allow",
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [shown(name, most) for name in names],
    }


def rows_axis(figure: go.Figure, names: Sequence[str], value_name: str) -> None:
    """Names down the left side, the first on top, and the values' axis below."""
    figure.update_yaxes(
        **name_ticks(names, shown=lines),
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(title=title(value_name), zeroline=True)


def at_least(figure: go.Figure, values: Sequence[np.ndarray], least: float) -> None:
    """Let the values' axis reach so far on both sides of zero, where all values [m] are smaller."""
    if np.nanmax(np.abs(np.concatenate(values)), initial=0.0) < least:
        figure.update_xaxes(range=[-1.05 * least, 1.05 * least])


def line(number: int, name: str, x: Any, y: Any) -> dict[str, Any]:
    """Line `number` of a chart, by x and y [m] of its points."""
    return {
        "x": small(x),
        "y": small(y),
        "mode": "lines+markers",
        "name": label(name),
        "line": {"color": CATEGORIES[number % len(CATEGORIES)], "width": 2},
        "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 6},
        "hovertemplate": label(name) + "<br>%{x:.3g}: %{y:.3f}<extra></extra>",
    }


def named_above(height: int) -> go.Layout:
    """:func:`layout` with room for the bar of buttons over names that stand above the cells, and
    for a scale's title beside a single row."""
    own = layout(max(LEAST_PX, height + BAR_PX))
    own.margin.t += BAR_PX
    return own


def layout(height: int) -> go.Layout:
    """The look that all figures share; text colour and font are the page's (set when drawn)."""
    axis = {
        "gridcolor": GRID,
        "zerolinecolor": "rgba(128,128,128,0.6)",
        "automargin": True,
        "linecolor": GRID,
        "title": {"standoff": 10},
        "fixedrange": False,
        "exponentformat": "none",
    }
    return go.Layout(
        template="none",
        height=int(height),
        autosize=True,
        font={"size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 8, "r": 24, "t": 12, "b": 44},
        xaxis=axis,
        yaxis=axis,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"},
        hoverlabel={"align": "left"},
        colorway=list(CATEGORIES),
        dragmode=False,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
    )


def write_cells(figure: go.Figure, values: np.ndarray, colours: np.ndarray) -> None:
    """The numbers in their cells, black or white by the luminance (ITU-R BT.709) behind them."""
    rows, columns = np.nonzero(np.isfinite(values))
    light = colours[rows, columns] @ [0.2126, 0.7152, 0.0722] > 127
    figure.add_scatter(
        x=small(columns),
        y=small(rows),
        mode="text",
        hoverinfo="skip",
        showlegend=False,
        meta="cell text",
        textfont={"color": ["#111111" if on else "#ffffff" for on in light]},
        text=[f"{round(value, 2) + 0:.2f}" for value in values[rows, columns]],
    )


def mark_cells(figure: go.Figure, significant: Mapping[str, np.ndarray]) -> None:
    """A dot in the upper right corner of each cell that passes the chosen criterion."""
    first = len(figure.data)
    marks = list(range(first, first + len(significant)))
    for number, passed in enumerate(significant.values()):
        rows, columns = np.nonzero(passed)
        figure.add_scatter(
            x=small(columns + 0.4),
            y=small(rows - 0.36),
            mode="markers",
            hoverinfo="skip",
            marker={"color": "#111111", "size": 6, "line": {"color": "#ffffff", "width": 1}},
            visible=number == 0,
            showlegend=False,
        )
    # The page makes buttons of its own of it, which lie outside of the chart.
    buttons = [
        {
            "label": label(name),
            "method": "restyle",
            "args": [{"visible": [mark == first + number for mark in marks]}, marks],
        }
        for number, name in enumerate(significant)
    ]
    if len(buttons) > 1:
        figure.update_layout(
            updatemenus=[{"type": "buttons", "buttons": buttons}],
        )


def single_out(names: Sequence[str], colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """Choices of a scatter chart with a trace for each name: all in their colours, or one alone.

    A name without a colour is pale among all; one that is singled out is strong, the others pale.
    """

    def choice(text: str, painted: list[str]) -> dict[str, Any]:
        seen = [0.8 if colour != PALE else 0.5 for colour in painted]
        change = {"marker.color": painted, "marker.opacity": seen}
        return {"label": text, "method": "restyle", "args": [change, list(range(len(names)))]}

    each = [
        choice(label(one), [STRONG if one == name else PALE for name in names]) for one in names
    ]
    return [choice("all", [colours.get(name, PALE) for name in names]), *each]

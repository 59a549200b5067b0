"""Arrays -> Plotly figures: pure functions with one look, for a report's `FigureBlock`.

Names that come from users (classes, samples) are shown literally: Plotly reads a little HTML in
its texts, so `label` escapes them. Positions on category axes are numbers, so that equal or
shortened names stay apart. Numbers are stored as float32, half the size and ample for the eye.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from conceptseg.report.colours import CATEGORIES, PLACES, paint, stops
from conceptseg.report.figure_style import (
    FAINT,
    INK,
    MUTED,
    PALE,
    ROW_PX,
    STRONG,
    SYMBOLS,
    WHISKER,
    at_least,
    ends_of_scale,
    error_bars,
    label,
    layout,
    line,
    mark_cells,
    name_ticks,
    named_above,
    row_px,
    rows_axis,
    single_out,
    small,
    title,
    write_cells,
)


def heatmap(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    value_name: str,
    significant: Mapping[str, np.ndarray] | None = None,
    centre: float | None = 0.0,
    low: float | None = None,
    high: float | None = None,
    least: float = 0.0,
) -> go.Figure:
    """Values [rows, columns] as colours, the first row on top, NaN left empty.

    With a `centre` the scale is diverging and symmetric around it, and reaches `least` from it at
    least; with None it runs from low to high. `significant` maps a criterion ("Holm") to booleans
    [rows, columns]: a dot marks the cells that pass, and buttons choose the criterion, the first
    at first.
    """
    values = np.asarray(values, np.float64)
    low, high = ends_of_scale(values, centre, low, high, least)
    scale = "cividis" if centre is None else "balance"
    names = [[f"{label(row, 80)} · {label(column, 80)}" for column in columns] for row in rows]
    trace = go.Heatmap(
        z=small(values),
        zmin=low,
        zmax=high,
        customdata=names,
        xgap=2,
        ygap=2,
        colorscale=stops(scale),
        hovertemplate="%{customdata}<br>" + label(value_name) + " %{z:.3f}<extra></extra>",
        hoverongaps=False,
        showscale=True,
        colorbar={
            "title": {"text": title(value_name, 26), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
            "exponentformat": "none",
        },
    )
    figure = go.Figure([trace], named_above(90 + ROW_PX * len(rows)))
    figure.update_xaxes(**name_ticks(columns, 16), side="top", showgrid=False, zeroline=False)
    figure.update_yaxes(**name_ticks(rows), autorange="reversed", showgrid=False, zeroline=False)
    if values.size <= 400 and len(columns) <= 14:
        write_cells(figure, values, paint(values, low, high, scale))
    if significant:
        mark_cells(figure, significant)
    return figure


def intervals(
    names: Sequence[str],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    value_name: str,
    null: tuple[np.ndarray, np.ndarray] | None = None,
    reference: float | None = None,
    significant: np.ndarray | None = None,
    null_name: str = "by chance",
    marks: tuple[str, str] = ("significant", "not significant"),
    least: float = 0.0,
) -> go.Figure:
    """A forest plot: per row a value with its interval, over the band that chance would fill.

    `null` gives that band's ends (one pair, or one per row), `null_name` its name. Rows that are
    not `significant` are hollow and grey (`marks`). The axis reaches `least` either side of zero.
    """
    values, low, high = (np.asarray(a, np.float64) for a in (values, low, high))
    passed = np.ones(len(values), bool) if significant is None else np.asarray(significant, bool)
    figure = go.Figure(layout=layout(110 + row_px(names) * len(values)))
    if null is not None:
        lower, upper = (np.broadcast_to(np.asarray(a, np.float64), values.shape) for a in null)
        figure.add_bar(
            y=np.arange(len(values)),
            base=small(lower),
            x=small(upper - lower),
            orientation="h",
            width=0.86,
            marker={"color": FAINT},
            hoverinfo="skip",
            name=label(null_name),
        )
    for chosen, colour, symbol, name in (
        (passed, INK, "circle", marks[0]),
        (~passed, MUTED, "circle-open", marks[1]),
    ):
        if chosen.any():
            figure.add_scatter(
                x=small(values[chosen]),
                y=np.flatnonzero(chosen),
                mode="markers",
                name=label(name),
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "size": 9,
                    "line": {"width": 2, "color": colour},
                },
                error_x=error_bars(values[chosen], low[chosen], high[chosen], colour),
                customdata=[label(names[i], 80) for i in np.flatnonzero(chosen).tolist()],
                hovertemplate="%{customdata}<br>" + label(value_name) + " %{x:.3f}<extra></extra>",
            )
    rows_axis(figure, names, value_name)
    at_least(figure, [values, low, high], least)
    if reference is not None:
        figure.add_vline(x=reference, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(showlegend=significant is not None or null is not None, barmode="overlay")
    return figure


def bars(
    names: Sequence[str],
    series: Mapping[str, np.ndarray],
    ends: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    value_name: str,
) -> go.Figure:
    """Horizontal bars from zero: per name one for each series, with its interval if it has `ends`.

    Series differ in pattern as well as in colour.
    """
    figure = go.Figure(layout=layout(100 + (row_px(names) - 4) * len(names) * len(series)))
    for number, (name, values) in enumerate(series.items()):
        figure.add_bar(
            x=small(values),
            y=np.arange(len(names)),
            orientation="h",
            name=label(name),
            error_x=error_bars(values, *ends[name], WHISKER) if name in ends else None,
            marker={
                "color": CATEGORIES[number % len(CATEGORIES)],
                "pattern": {"shape": ("", "/", "x", ".")[number % 4], "solidity": 0.25},
            },
            customdata=[label(one, 80) for one in names],
            hovertemplate="%{customdata}<br>" + label(name) + " %{x:.3f}<extra></extra>",
        )
    rows_axis(figure, names, value_name)
    figure.update_layout(barmode="group", bargap=0.25, legend={"traceorder": "normal"})
    return figure


def stacked_shares(
    names: Sequence[str], shares: Mapping[str, np.ndarray], *, value_name: str = "share"
) -> go.Figure:
    """Per row how a whole divides into parts (inside, ring, elsewhere), from 0 to 100 %."""
    figure = go.Figure(layout=layout(110 + row_px(names) * len(names)))
    for number, (part, values) in enumerate(shares.items()):
        figure.add_bar(
            x=small(values),
            y=np.arange(len(names)),
            orientation="h",
            name=label(part),
            marker={
                "color": PLACES.get(part, CATEGORIES[number % len(CATEGORIES)]),
                "line": {"color": "#ffffff", "width": 1},
            },
            width=0.72,
            customdata=[label(name, 80) for name in names],
            hovertemplate="%{customdata}<br>" + label(part) + " %{x:.0%}<extra></extra>",
        )
    rows_axis(figure, names, value_name)
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    return figure


def scatter_map(
    points: np.ndarray,
    categories: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    order: Sequence[str] | None = None,
    x_name: str = "",
    y_name: str = "",
    size_px: float = 6,
    equal: bool = False,
) -> go.Figure:
    """Points [m, 2] coloured and shaped by category, in the given order or that of appearance.

    Of more than eight categories the eight largest have colours, and a list singles out any one.

    A point's customdata starts with its row number: `FigureBlock.hover` is looked up by it.
    Without axis names the axes carry no numbers (an embedding has none). `equal` makes one unit as
    long on both axes.
    """
    points = np.asarray(points, np.float64)
    texts = categories if texts is None else texts
    figure = go.Figure(layout=layout(520))
    members: dict[str, list[int]] = {category: [] for category in order or ()}
    for row, category in enumerate(categories):
        members.setdefault(category, []).append(row)
    largest = sorted(members, key=lambda name: -len(members[name]))[: len(CATEGORIES)]
    coloured = [name for name in members if name in largest]
    colours = dict(zip(coloured, CATEGORIES, strict=False))
    for number, (category, chosen) in enumerate(members.items()):
        figure.add_scatter(
            x=small(points[chosen, 0]),
            y=small(points[chosen, 1]),
            mode="markers",
            name=label(category, 24),
            marker={
                "color": colours.get(category, PALE),
                "size": size_px,
                "opacity": 0.8,
                "symbol": SYMBOLS[number // len(CATEGORIES) % len(SYMBOLS)],
            },
            customdata=[[row, label(texts[row], 80)] for row in chosen],
            hovertemplate="%{customdata[1]}<extra></extra>",
        )
    bare = {
        "showticklabels": False,
        "ticks": "",
        "zeroline": False,
        "showgrid": False,
        "showline": True,
        "mirror": True,
    }
    figure.update_xaxes(title=title(x_name), **({} if x_name else bare))
    figure.update_yaxes(title=title(y_name), **({} if y_name else bare))
    if len(members) > len(CATEGORIES):
        figure.update_layout(updatemenus=[{"buttons": single_out(list(members), colours)}])
    if equal:
        figure.update_yaxes(scaleanchor="x", scaleratio=1)
    return figure


def null_histogram(
    null: np.ndarray, observed: float | Mapping[str, float], *, value_name: str, bins: int = 40
) -> go.Figure:
    """How a statistic is spread by chance alone, with the observed value or values as lines."""
    null = np.asarray(null, np.float64)
    marks = observed if isinstance(observed, Mapping) else {"observed": float(observed)}
    ends = np.array([*null[np.isfinite(null)], *marks.values()])
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 1.0)
    reach = (high - low) or abs(low) or 1.0
    edges = np.linspace(low, low + reach, bins + 1)
    counts = np.histogram(null[np.isfinite(null)], edges)[0]
    figure = go.Figure(layout=layout(300))
    figure.add_bar(
        x=small((edges[1:] + edges[:-1]) / 2),
        y=counts,
        name="by chance",
        width=reach / bins,
        marker={"color": PALE},
        hovertemplate="%{x:.3f}: %{y}<extra></extra>",
    )
    for number, (name, value) in enumerate(marks.items()):
        figure.add_scatter(
            x=[value, value],
            y=[0, int(counts.max(initial=1))],
            mode="lines",
            name=label(name),
            line={
                "color": (STRONG, *CATEGORIES)[number % 9],
                "width": 2.5,
                "dash": ("solid", "dash", "dot", "dashdot")[number % 4],
            },
            hovertemplate=f"{label(name)} {value:.3f}<extra></extra>",
        )
    figure.update_xaxes(title=title(value_name), range=[low - reach / 20, low + reach * 1.05])
    figure.update_yaxes(title="null draws")
    figure.update_layout(bargap=0)
    return figure


def curves(
    x: np.ndarray,
    series: Mapping[str, np.ndarray],
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    x_name: str,
    y_name: str,
) -> go.Figure:
    """Lines over a common x, each perhaps with a band (low, high) of its own name."""
    figure = go.Figure(layout=layout(360))
    x = np.asarray(x, np.float64)
    for number, (name, values) in enumerate(series.items()):
        colour = CATEGORIES[number % len(CATEGORIES)]
        if bands and name in bands:
            low, high = bands[name]
            figure.add_scatter(
                x=small(np.concatenate([x, x[::-1]])),
                fill="toself",
                fillcolor=colour,
                y=small(np.concatenate([np.asarray(high), np.asarray(low)[::-1]])),
                mode="none",
                opacity=0.18,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(**line(number, name, x, values))
    figure.update_xaxes(title=title(x_name))
    figure.update_yaxes(title=title(y_name))
    return figure


def trade_off(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]], *, x_name: str, y_name: str
) -> go.Figure:
    """Lines (x, y) of their own points each, such as two measures over the same thresholds."""
    figure = go.Figure(layout=layout(420))
    for number, (name, (x, y)) in enumerate(lines.items()):
        figure.add_scatter(**line(number, name, x, y))
    figure.update_xaxes(title=title(x_name))
    figure.update_yaxes(title=title(y_name))
    return figure

"""A report's charts, each from a table and the columns that it draws.

A chart is one call: the figure, the table of its numbers below it, and an alternative text
composed from the numbers (:mod:`conceptseg.report.alt`)::

    charts.forest(pairs, "class", LOSS, heading="What erasing costs", caption=..., reference=0)

Every function takes `heading`, `caption` and `id`, and returns a FigureBlock, or None where there
is nothing to draw: a section leaves that out. `below` is the table under the chart where it is not
the one drawn (because more rows are listed than shown, say); what it shows is chosen by
:meth:`Table.show`. A `name` is a column that names the rows, or a function of a row.

Charts of one study alone stay with it: they make their own FigureBlock, with a text of `alt`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np

from conceptseg.report import alt, figures
from conceptseg.report.blocks import FigureBlock, Shown
from conceptseg.result.columns import Column, key_of
from conceptseg.result.table import Table

Row = Mapping[str, Any]
Of = Column | str | Callable[[Row], Any]
"""What a row is asked for: one of its cells, or what a function makes of it."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Words(TypedDict):
    """What every chart takes: `heading`, `caption`, `id` (its anchor), and the table `below`."""

    heading: str
    caption: str
    id: NotRequired[str]
    below: NotRequired[Table]


def forest(
    table: Table,
    name: Of,
    value: Column,
    *,
    axis: str = "",
    reference: float | None = None,
    chance: Column | None = None,
    chance_name: str = "by chance",
    filled: Of | None = None,
    marks: tuple[str, str] = ("significant", "not significant"),
    least: float = 0.0,
    **words: Unpack[Words],
) -> FigureBlock | None:
    """Per row a value with its interval, the first on top.

    `axis` names the value where its column's label does not say enough. A dotted line stands at
    `reference`; a grey band reaches from zero to `chance`. Rows of which `filled` is not true are
    hollow; `marks` names the two kinds. The axis reaches `least` at least, on both sides of zero.
    """
    if not table.rows:
        return None
    names, values = texts(table, name), table.numbers(value)
    low, high = table.numbers(value.low), table.numbers(value.high)
    passed = None if filled is None else np.array([bool(v) for v in cells(table, filled)])
    by_chance = None if chance is None else table.numbers(chance)
    figure = figures.intervals(
        names,
        values,
        low,
        high,
        value_name=axis or value.name,
        null=None if by_chance is None else (np.minimum(by_chance, 0), np.maximum(by_chance, 0)),
        null_name=chance_name,
        reference=reference,
        significant=passed,
        marks=marks,
        least=least,
    )
    text = alt.forest(
        names, values, low, high, axis or value.name, reference=reference, filled=passed,
        marks=marks,
    )  # fmt: skip
    return _block(figure, text, table, words)


def heatmap(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    value: str,
    corner: str = "class",
    marked: Mapping[str, np.ndarray] | None = None,
    centre: float | None = 0.0,
    ends: tuple[float | None, float | None] = (None, None),
    least: float = 0.0,
    **words: Unpack[Words],
) -> FigureBlock | None:
    """Values [rows, columns] as colours, nan empty: see :func:`grid` and `figures.heatmap`.

    `value` names the numbers, `corner` the first column of the table below, which names its rows;
    `marked` maps a criterion to booleans of the same shape. None where every cell is empty.
    """
    if not np.isfinite(values).any():
        return None
    figure = figures.heatmap(
        values,
        rows,
        columns,
        value_name=value,
        significant=marked,
        centre=centre,
        low=ends[0],
        high=ends[1],
        least=least,
    )
    numbers = [
        {corner: name, **dict(zip(columns, line.tolist(), strict=True))}
        for name, line in zip(rows, values, strict=True)
    ]
    # Names of columns are the user's own: a head must not turn their underscores into spaces.
    table = Table(numbers, (corner, *columns), {name: name for name in columns})
    return _block(figure, alt.heatmap(values, rows, columns, value, marked), table, words)


def grid(
    table: Table,
    rows: tuple[str, Sequence[Any]],
    columns: tuple[str, Sequence[Any]],
    value: Column | str,
) -> np.ndarray:
    """One column of a long table as float [rows, columns]; nan where no row has the pair.

    `rows` and `columns` are each the key that tells a row's place, and its values in their order.
    """
    at = {(row[rows[0]], row[columns[0]]): place for place, row in enumerate(table.rows)}
    numbers = np.append(table.numbers(value), np.nan)
    found = [[at.get((r, c), -1) for c in columns[1]] for r in rows[1]]
    return numbers[np.array(found, np.intp).reshape(len(rows[1]), len(columns[1]))]


def curves(
    table: Table,
    x: Column,
    series: Sequence[Column | str],
    *,
    axis: str,
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ticks: Of | None = None,
    **words: Unpack[Words],
) -> FigureBlock | None:
    """Lines over a common x, one for each column of `series`; `axis` names what they measure.

    `bands` gives some of them ends (low, high) [rows] by name; `ticks` names the places on x,
    which are then counted from 1.
    """
    if not table.rows or not series:
        return None
    across = table.numbers(x) if ticks is None else np.arange(1.0, len(table.rows) + 1)
    drawn = {one.name if isinstance(one, Column) else one: table.numbers(one) for one in series}
    figure = figures.curves(across, drawn, bands, x_name=x.name, y_name=axis)
    places = [] if ticks is None else texts(table, ticks)
    if places:
        figure.update_xaxes(tickvals=across.tolist(), ticktext=places)
    pairs = {name: (across, values) for name, values in drawn.items()}
    return _block(figure, alt.lines(pairs, x.name, axis, places), table, words)


def trade_off(
    table: Table,
    line: Of,
    x: Column,
    y: Column,
    *,
    diagonal: str = "",
    span: tuple[float, float] = (0.0, 1.0),
    **words: Unpack[Words],
) -> FigureBlock | None:
    """A line of its own points for each value of `line`: one quantity over another.

    `diagonal` names the line of equality, drawn over `span`.
    """
    if not table.rows:
        return None
    own = table.by(line if callable(line) else key_of(line))
    pairs = {str(name): (each.numbers(x), each.numbers(y)) for name, each in own.items()}
    equal = {diagonal: (np.array(span), np.array(span))} if diagonal else {}
    figure = figures.trade_off(pairs | equal, x_name=x.name, y_name=y.name)
    return _block(figure, alt.lines(pairs, x.name, y.name), table, words)


def scatter(
    table: Table,
    x: Column,
    y: Column,
    category: Of,
    name: Of,
    *,
    order: Sequence[str] = (),
    axes: bool = True,
    cut: float | None = None,
    equal: bool = False,
    size_px: float = 9,
    picture: Callable[[Row], Shown] | None = None,
    **words: Unpack[Words],
) -> FigureBlock | None:
    """A point for each row, coloured by category; `picture` is shown while it is pointed at.

    Without `axes` it is a map, on which only likeness counts. `cut` ends both axes at so far from
    zero; `order` is that of the categories; `equal` makes one unit as long on both axes.
    """
    if not table.rows:
        return None
    points = np.stack([table.numbers(x), table.numbers(y)], 1)
    kinds, names = texts(table, category), texts(table, name)
    x_name, y_name = (x.name, y.name) if axes else ("", "")
    figure = figures.scatter_map(
        points if cut is None else np.clip(points, -cut, cut),
        kinds,
        names,
        order=[one for one in order if one in kinds] or None,
        x_name=x_name,
        y_name=y_name,
        size_px=size_px,
        equal=equal,
    )
    hover = [] if picture is None else [picture(row) for row in table.rows]
    text = alt.scatter(points, names, kinds, x_name, y_name)
    return _block(figure, text, table, words, hover)


def bars(
    table: Table, name: Of, series: Mapping[str, Column], *, axis: str, **words: Unpack[Words]
) -> FigureBlock | None:
    """Horizontal bars from zero: per row one for each column, named by the keys of `series`."""
    if not table.rows:
        return None
    names = texts(table, name)
    drawn = {title: table.numbers(one) for title, one in series.items()}
    ends = {
        title: (table.numbers(one.low), table.numbers(one.high))
        for title, one in series.items()
        if one.interval
    }
    figure = figures.bars(names, drawn, ends, value_name=axis)
    return _block(figure, alt.bars(names, drawn, axis), table, words)


def shares(
    table: Table, name: Of, parts: Sequence[str], **words: Unpack[Words]
) -> FigureBlock | None:
    """Per row how a whole divides into the columns `parts`, from 0 to 100 %."""
    if not table.rows:
        return None
    names, drawn = texts(table, name), {part: table.numbers(part) for part in parts}
    text = alt.bars(names, drawn, "the shares of a whole, stacked")
    return _block(figures.stacked_shares(names, drawn), text, table, words)


def histogram(
    null: np.ndarray,
    marks: Mapping[str, float],
    *,
    value: str,
    beside: Mapping[str, np.ndarray] | None = None,
    null_name: str = "by chance",
    quantiles: Sequence[float] = QUANTILES,
    **words: Unpack[Words],
) -> FigureBlock | None:
    """How a statistic is spread by chance [m], and where the observed values lie, as lines.

    The table below has quantiles of it, under `null_name`, and of what is set `beside` it.
    """
    null = np.asarray(null, np.float64)
    if not null.size:
        return None
    columns = {null_name: null, **(beside or {})}
    drawn = {name: np.quantile(one, quantiles).tolist() for name, one in columns.items()}
    table = Table.of_columns({"quantile": quantiles, **drawn})
    figure = figures.null_histogram(null, marks, value_name=value)
    return _block(figure, alt.histogram(null, marks, value), table, words)


def cells(table: Table, of: Of) -> list[Any]:
    """What each row has of a column, or a function makes of it."""
    if isinstance(of, Column | str):
        return [row.get(key_of(of)) for row in table.rows]
    return [of(row) for row in table.rows]


def texts(table: Table, of: Of) -> list[str]:
    """:func:`cells` as texts."""
    return [str(cell) for cell in cells(table, of)]


def _block(
    figure: Any,
    text: str,
    table: Table,
    words: Words,
    hover: Sequence[Shown] = (),
) -> FigureBlock:
    return FigureBlock(
        figure,
        words["heading"],
        text,
        words["caption"],
        words.get("below", table),
        words.get("id", ""),
        hover,
    )

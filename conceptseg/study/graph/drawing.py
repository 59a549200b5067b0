"""The layered picture: layers from left to right, classes on the right, confirmed edges between."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from conceptseg.report.blocks import FigureBlock, OneOf, Picture
from conceptseg.report.figure_style import INK, MUTED, STRONG, label, layout, small
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.graph.conclude import way

Row = Mapping[str, Any]
MOST = 60
"""Edges drawn at once, the largest; all are in the table."""
COLOURS = {1: STRONG, -1: INK, 0: "#6b4c9a"}
WIDEST, THINNEST = 7.0, 1.0
UNLIKE = 0.5
"""Difference of the two directions, as a part of the effect, from which an edge is dashed."""
ROW_PX = 34


def pictures(result: Result) -> OneOf | None:
    """A picture for each class with a confirmed edge, and one of all classes."""
    table = result.tables["edges"].where(lambda row: bool(row["confirmed"]))
    if not table.rows:
        return None
    classes = [name for name in result.notes["classes"] if name in table.by("class")]
    views = [(name, table.by("class")[name]) for name in classes]
    if len(classes) > 1:
        views.insert(0, ("all classes", table))
    blocks = [_block(result, name, own) for name, own in views]
    caption = (
        "Layers run from left to right. Red speaks for the class, blue against it, violet for or "
        "against it by the image; the wider, the more log-odds. Pale: not shown to be more than "
        "random groups of as many units carry. Dashed: ablation and restoration differ by more "
        "than half of the size, so the edge works together with others. Point at an atom to see "
        "where it responds, at the middle of an edge to see an image in which both of its ends do."
    )
    return OneOf(blocks, "Class", "The graph", caption, "graph")


def _block(result: Result, name: str, edges: Table) -> FigureBlock:
    shown = sorted(edges.rows, key=lambda row: -row["size"])[:MOST]
    layers = result.notes["layers"]
    places = _places(shown, layers, {row["atom"]: row for row in result.tables["atoms"].rows})
    figure = go.Figure(layout=layout(110 + ROW_PX * max(2, _most(places))))
    largest = max(row["size"] for row in shown)
    hover, names = list[Picture | None](), called(result)
    for row in reversed(shown):  # the largest on top
        figure.add_scatter(**_line(row, places, largest, names, len(hover)))
        hover += [None, _both(row, names), None]
    hover += _nodes(figure, places, result, len(hover))
    ends = [*layers, "class"]
    figure.update_xaxes(
        tickmode="array",
        tickvals=list(range(len(ends))),
        ticktext=[label(one, 18) for one in ends],
        range=[-0.4, len(ends) - 0.5],
        showgrid=False,
        zeroline=False,
    )
    highest = max(y for _, y in places.values())
    figure.update_yaxes(visible=False, range=[-0.6, highest + 0.8])  # with room for a name on top
    figure.update_layout(showlegend=False)
    first = shown[0]
    alt = (
        f"Layered graph of {len(shown)} edges between {len(places)} nodes in {len(ends)} columns; "
        f"the largest leads from {names.get(first['from'], first['from'])} to "
        f"{names.get(first['to'], first['to'])}, {first['size']:.2f} log-odds."
    )
    left = (
        "" if len(shown) == len(edges.rows) else f"The {MOST} largest of {len(edges.rows)} edges."
    )
    return FigureBlock(figure, name, alt, left, edges, f"graph-{name}", hover)


def _places(
    edges: Sequence[Row], layers: Sequence[str], atoms: Mapping[str, Row]
) -> dict[str, tuple[float, float]]:
    """x, y of each node: in its layer's column, each column centred, in the atoms' order."""
    used = {one for row in edges for one in (row["from"], row["to"])}
    columns = [[n for n in atoms if n in used and atoms[n]["layer"] == one] for one in layers]
    columns.append(sorted(used - set(atoms)))
    tallest = max(len(own) for own in columns)
    return {
        name: (float(x), (tallest - 1) / 2 - (len(own) - 1) / 2 + y)
        for x, own in enumerate(columns)
        for y, name in enumerate(own)
    }


def _most(places: Mapping[str, tuple[float, float]]) -> int:
    xs = [x for x, _ in places.values()]
    return max(xs.count(x) for x in set(xs))


def called(result: Result) -> dict[str, str]:
    """What texts call each atom, by its layer and number."""
    return {row["atom"]: row.get("called", row["atom"]) for row in result.tables["atoms"].rows}


def both(row: Row, names: Mapping[str, str]) -> list[Picture]:
    """Images in which both ends of an edge respond."""
    source, target = names.get(row["from"], row["from"]), names.get(row["to"], row["to"])
    straight = row["to"] not in names
    said = f"{source}, {target} outlined" if straight else f"{source}, and beside it {target}"
    return [Picture(key, f"response of {said}", said) for key in row.get("pictures", [])]


def _both(row: Row, names: Mapping[str, str]) -> Picture | None:
    return next(iter(both(row, names)), None)


def _line(
    row: Row,
    places: Mapping[str, tuple[float, float]],
    largest: float,
    names: Mapping[str, str],
    before: int,
) -> dict[str, Any]:
    """A line with its middle, which can be pointed at; `before` points are drawn already."""
    (x0, y0), (x1, y1) = places[row["from"]], places[row["to"]]
    value = row["size"]
    unlike = row["away"] > UNLIKE * value
    return {
        "x": small([x0, (x0 + x1) / 2, x1]),
        "y": small([y0, (y0 + y1) / 2, y1]),
        "customdata": [before, before + 1, before + 2],
        "mode": "lines",
        "line": {
            "color": COLOURS[way(row["signed"], value)],
            "width": THINNEST + (WIDEST - THINNEST) * value / largest,
            "dash": "dash" if unlike else "solid",
        },
        "opacity": 0.4 if row["specific"] is False else 0.85,
        "hovertemplate": f"{label(names.get(row['from'], row['from']))} → "
        f"{label(names.get(row['to'], row['to']))}, {label(row['class'])}: "
        f"{value:.2f} ({row['signed']:+.2f})<extra></extra>",
    }


def _nodes(
    figure: go.Figure, places: Mapping[str, tuple[float, float]], result: Result, before: int
) -> list[Picture | None]:
    atoms = {row["atom"]: row for row in result.tables["atoms"].rows}
    points = np.array(list(places.values()))
    figure.add_scatter(
        x=small(points[:, 0]),
        y=small(points[:, 1]),
        customdata=[before + n for n in range(len(places))],
        mode="markers+text",
        marker={"size": 13, "color": MUTED, "line": {"width": 1, "color": "#ffffff"}},
        text=[label(_short(name, atoms), 20) for name in places],
        textposition="top center",
        hovertext=[label(_said(name, atoms), 80) for name in places],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    return [_picture(atoms.get(name)) for name in places]


def _short(name: str, atoms: Mapping[str, Row]) -> str:
    if name not in atoms:
        return name
    row = atoms[name]
    number = name.removeprefix(f"{row['layer']}/")
    own = row.get("called", name)
    return own.removeprefix(f"{row['layer']}/") if own != name else f"{number}: {row['on'] or '?'}"


def _said(name: str, atoms: Mapping[str, Row]) -> str:
    if name not in atoms:
        return f"class {name}"
    row = atoms[name]
    own, most = row.get("called", name), row["on"] or "nothing"
    return f"{own}, {row['units']} units, responds most on {most}"


def _picture(row: Row | None) -> Picture | None:
    if row is None or not row["pictures"]:
        return None
    return Picture(row["pictures"][0], f"where {row['atom']} responds most")

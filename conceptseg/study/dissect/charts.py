"""The chart that only a dissection needs."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from conceptseg.report.colours import CATEGORIES
from conceptseg.report.figure_style import label, layout


def treemap(parts: Mapping[str, Mapping[str, Sequence[str]]]) -> go.Figure:
    """Nested areas: category, concept, and the units that detect it, each unit of one size."""
    ids, names, parents, colours = [], [], [], []

    def add(name: str, parent: str, colour: str) -> str:
        ids.append(f"{parent}/{name}")
        names.append(label(name, 40))
        parents.append(parent)
        colours.append(colour)
        return ids[-1]

    for number, (category, concepts) in enumerate(parts.items()):
        colour = CATEGORIES[number % len(CATEGORIES)]
        outer = add(category, "", colour)
        for concept, units in concepts.items():
            inner = add(concept, outer, colour)
            for unit in units:
                add(unit, inner, colour)
    leaf = [0 if one in set(parents) else 1 for one in ids]
    figure = go.Figure(layout=layout(460))
    figure.add_treemap(
        ids=ids,
        labels=names,
        parents=parents,
        values=leaf,
        branchvalues="remainder",
        marker={"colors": colours, "line": {"width": 1, "color": "#ffffff"}},
        textfont={"color": "#ffffff"},
        hovertemplate="%{label}<extra></extra>",
        tiling={"pad": 2},
        pathbar={"visible": False},
    )
    figure.update_layout(margin={"l": 4, "r": 4, "t": 4, "b": 4})
    return figure

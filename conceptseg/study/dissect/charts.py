"""The chart that only a dissection needs."""

import plotly.graph_objects as go

from conceptseg.report.blocks import FigureBlock
from conceptseg.report.colours import CATEGORIES
from conceptseg.report.figure_style import label, layout
from conceptseg.result.columns import as_number
from conceptseg.result.table import Table
from conceptseg.study.dissect.tables import NORMALISED, OVERLAP


def treemap(units: Table) -> FigureBlock | None:
    """Nested areas: category, concept, and the units that detect it, each unit of one size."""
    if not units.rows:
        return None
    units = units.sorted(lambda row: -as_number(row["overlap"]))
    ids, names, parents, colours = [], [], [], []

    def add(name: str, parent: str, colour: str) -> str:
        ids.append(f"{parent}/{name}")
        names.append(label(name, 40))
        parents.append(parent)
        colours.append(colour)
        return ids[-1]

    categories = units.by("category")
    for number, (category, table) in enumerate(categories.items()):
        colour = CATEGORIES[number % len(CATEGORIES)]
        outer = add(category, "", colour)
        for concept, own in table.by("label").items():
            inner = add(concept, outer, colour)
            for row in own.rows:
                add(f"unit {row['unit']}", inner, colour)
    figure = go.Figure(layout=layout(460))
    figure.add_treemap(
        ids=ids,
        labels=names,
        parents=parents,
        values=[0 if one in set(parents) else 1 for one in ids],
        branchvalues="remainder",
        marker={"colors": colours, "line": {"width": 1, "color": "#ffffff"}},
        textfont={"color": "#ffffff"},
        hovertemplate="%{label}<extra></extra>",
        tiling={"pad": 2},
        pathbar={"visible": False},
    )
    figure.update_layout(margin={"l": 4, "r": 4, "t": 4, "b": 4})
    sizes = ", ".join(f"{name} {len(table.rows)}" for name, table in categories.items())
    concepts = sum(len(table.by("label")) for table in categories.values())
    return FigureBlock(
        figure,
        "Which units detect what",
        f"Nested areas of {len(units.rows)} units that detect {concepts} concepts; units by "
        f"category: {sizes}.",
        "Category, concept, unit; each unit has the same area.",
        units.show("unit", "label", "category", OVERLAP.alone, NORMALISED, "p_adjusted"),
        "tree",
    )

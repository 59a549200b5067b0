"""The report of a graph study, from its result alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conceptseg.report import charts, cover
from conceptseg.report.blocks import (
    ColourBar,
    Gallery,
    Picture,
    Report,
    Section,
    TableBlock,
)
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.graph import drawing
from conceptseg.study.graph.conclude import FIRST, SIZE
from conceptseg.study.graph.pictures import LIMIT
from conceptseg.study.shared import local_maps

FOREST = 30
"""Edges whose intervals are drawn, the largest."""
SHOWN = 12
"""Edges whose images are shown below the graph, the largest; of more, beside the pointer."""
BAR = ColourBar("balance", -LIMIT, LIMIT, "mean response of the atom's units, in deviations")


def compose(result: Result) -> Report:
    """The layered picture, its atoms, what holds of its edges, and what has no way to a class."""
    notes = result.notes
    return cover.report(
        result,
        title="Through which groups of units do classes come about?",
        method="Concept graph of",
        lead=f"The units of {len(notes['layers'])} layers were put into {notes['atoms']} groups "
        f"that respond alike. {notes['tested']} edges between these atoms and "
        f"{counted(len(notes['classes']), 'class')} were carried out, of which "
        f"{notes['confirmed']} hold in both directions; {notes['specific']} of "
        f"{notes['asked_specific']} that could be asked "
        "carry more than random groups of as many units.",
        facts=(("Layers", ", ".join(notes["layers"])), ("Atoms", notes["atoms"])),
        sections=(
            picture(result),
            atoms(result),
            certainty(result),
            unconnected(result),
            local_maps.section(result, "Maps show where in the image, graphs through which units."),
            numbers(result),
        ),
        limits=(
            "An atom is a group of units, not a meaning: it is called by the class, as labelled, "
            "or the known context that it overlaps with on both halves; the name enters no test.",
            "Ways are screened by gradients on one half of the images; where the network is "
            "saturated, a way of large effect may have none. How well both agree is shown.",
            "An edge is what the first step past the layers that lie between does; with their "
            "signs they add up to an atom's effect only where the network is linear.",
            "Units that respond alike for different reasons are one atom; another number of atoms, "
            "or other layers, gives another graph.",
        ),
        illustrate=local_maps.illustrate(result, illustrate(result)),
    )


def picture(result: Result) -> Section | None:
    """The graph of what was confirmed, and images of it; None where nothing was."""
    names, lines = drawing.called(result), list[tuple[str, list[Picture | None]]]()
    rows = [row for row in result.tables["edges"].rows if row.get("pictures")]
    for row in sorted(rows, key=lambda row: -row["size"])[:SHOWN]:
        target = names.get(row["to"], row["to"])
        said = f"{names.get(row['from'], row['from'])} → {target}, {row['size']:.2f} log-odds"
        lines.append((f"{row['class']}: {said}", [*drawing.both(row, names)]))
    most = max((len(own) for _, own in lines), default=0)
    lines = [(said, own + [None] * (most - len(own))) for said, own in lines]
    heads, title = (
        [f"{n + 1}." for n in range(most)],
        "Where both ends of the largest edges respond",
    )
    gallery = Gallery(heads, lines, title, bar=BAR) if lines else None
    drawn = [one for one in (drawing.pictures(result), gallery) if one is not None]
    return Section("picture", "The graph", "", drawn) if drawn else None


def atoms(result: Result) -> Section | None:
    """A row of pictures for each atom on a confirmed edge, the most connected first; None where
    there is none."""
    rows = [row for row in result.tables["atoms"].rows if row["pictures"]]
    rows.sort(key=lambda row: -row["edges"])
    most = max((len(row["pictures"]) for row in rows), default=0)
    lines = []
    for row in rows:
        units = counted(row["units"], "unit")
        said = f"{row.get('called', row['atom'])}: {units}, most on {row['on'] or 'no class'}"
        own: list[Picture | None] = [*_responses(row)]
        lines.append((said, own + [None] * (most - len(own))))
    heads = [f"{n + 1}." for n in range(most)]
    text = "The images in which each atom's units respond most, and where."
    if not lines:
        return None
    return Section("atoms", "What atoms respond to", text, [Gallery(heads, lines, bar=BAR)])


def _responses(row: Mapping[str, Any]) -> list[Picture]:
    """Where an atom responds, in the images in which it is strongest."""
    said = f"response of {row.get('called', row['atom'])} in an image in which it is strong"
    return [Picture(key, said) for key in row["pictures"]]


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of an edge images in which both ends respond, else those of the atom that it begins at."""
    names, edges = drawing.called(result), result.tables["edges"].rows
    atoms = {row["atom"]: row for row in result.tables["atoms"].rows}

    def own(finding: Finding) -> Sequence[Picture]:
        ends = (finding.class_, finding.details.get("source"), finding.details.get("target"))
        for edge in edges:
            if ends == (edge["class"], edge["from"], edge["to"]) and edge.get("pictures"):
                return drawing.both(edge, names)
        row = atoms.get(finding.details.get("source"))
        return [] if row is None else _responses(row)

    return own


def certainty(result: Result) -> Section:
    """Intervals of the largest edges, and patched effects beside first estimates."""
    table, names = result.tables["edges"], drawing.called(result)

    def name_of(end: str) -> str:
        return names.get(end, end)

    largest = sorted(table.rows, key=lambda row: -row["size"])[:FOREST]
    forest = charts.forest(
        table.where(lambda row: row in largest),
        lambda row: f"{name_of(row['from'])} → {name_of(row['to'])} · {row['class']}",
        SIZE,
        reference=result.notes["smallest_effect"],
        filled="confirmed",
        marks=("confirmed", "not confirmed"),
        heading="The largest edges",
        caption="By how much the class moves when the second atom is as the first one's absence "
        "makes it, or when the second atom alone is restored: of each image the smaller. Filled: "
        "more than the least that counts, corrected over all edges.",
        id="edges",
    )
    ways = table.where(lambda row: row["first"] is not None)
    screened = charts.scatter(
        ways,
        FIRST,
        Column("signed", "carried out, with its sign"),
        lambda row: "confirmed" if row["confirmed"] else "not confirmed",
        lambda row: f"{name_of(row['from'])} → {name_of(row['to'])} · {row['class']}",
        order=("confirmed", "not confirmed"),
        equal=True,
        heading="What gradients promise and what is there",
        caption="On the diagonal the gradient's estimate is what carrying out gives.",
        id="screened",
    )
    halves = result.tables["halves"]
    text = "Ways that were chosen by one half of the images were judged on the other."
    found = TableBlock(halves, "Would the other half have chosen the same?")
    return Section("certainty", "How sure the edges are", text, [forest, screened, found])


def unconnected(result: Result) -> Section | None:
    """Atoms without a confirmed way to a class."""
    table = result.tables["atoms"].where(lambda row: not row["edges"])
    if not table.rows:
        return None
    text = "That no edge was shown does not show that there is none."
    shown = table.show("atom", "units", "on", "responds")
    return Section("unconnected", "Atoms without a way to a class", text, [TableBlock(shown)])


def numbers(result: Result) -> Section:
    names = ("edges", "nodes", "halves")
    shown = [one for one in (result.tables[key] for key in names) if one.rows]
    tables = [
        TableBlock(one.show(*[c for c in one.columns if c != "pictures"]), one.caption)
        for one in shown
    ]
    return Section("numbers", "All numbers", "", tables)

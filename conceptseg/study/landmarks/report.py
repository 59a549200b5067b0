"""The report of a landmarks study, from its result alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from conceptseg.report import charts, cover
from conceptseg.report.blocks import (
    Block,
    ColourBar,
    Gallery,
    Picture,
    Report,
    Section,
    TableBlock,
)
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.landmarks.assess import EVERY
from conceptseg.study.landmarks.conclude import ALONG, TIED_ALONG, TIED_NEAR
from conceptseg.study.landmarks.config import KINDS
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """Whether attribution follows thin structures, how far it reaches, and what it is tied to."""
    notes = result.notes
    return cover.report(
        result,
        title="Does attribution follow thin structures?",
        method="Landmarks of",
        lead=f"{notes['landmarks']} landmarks of {counted(len(notes['classes']), 'class')} were "
        f"explained one by one by {notes['method']}: ends, middles of branches, forks and "
        "crossings of "
        f"what is {notes['regions']}.",
        facts=(("Landmarks", notes["landmarks"]), ("Method", notes["method"])),
        sections=(
            along(result),
            reaching(result),
            examples(result),
            local_maps.section(result, "Maps of whole regions, where landmarks are single places."),
            numbers(result),
        ),
        limits=(
            "A map says where the score reacts to small changes, or what a method makes of "
            "that; it does not say that a network knows that a structure goes on.",
            "Structures differ from their surroundings to the eye as well, and gradients are large "
            "on edges: part of what follows a structure follows edges. The turned structure meets "
            "other edges alone.",
            "Landmarks of one image are not independent; intervals and tests count "
            f"{notes['unit']}s.",
            "The skeleton of a blurred or broken region has forks and ends of its own.",
        ),
    )


def along(result: Result) -> Section:
    table = result.tables["followed"]
    every = [row for row in table.rows if row["kind"] == EVERY]
    kinds = [row for row in table.rows if row["kind"] != EVERY]
    forest = charts.forest(
        table.where(lambda row: row in every or row in kinds),
        lambda row: f"{row['class']} · {row['kind']}",
        ALONG,
        reference=0.0,
        filled=lambda row: row["p_adjusted"] is not None and row["p_adjusted"] <= ALPHA,
        heading="On the structure against beside it",
        caption="Zero: the map holds as much on the structure as on the same pixels turned about "
        "the landmark. One: twice as much. Filled: corrected over all classes and kinds.",
        id="anisotropy",
    )
    tied = charts.bars(
        result.tables["tied"],
        "class",
        {"with anisotropy": TIED_ALONG, "with the share near": TIED_NEAR},
        axis="rank correlation with thickness",
        heading="Thickness",
        caption="Whether thicker places hold their attribution nearer, or along the structure. "
        "Not corrected.",
    )
    return Section("follow", "Does it follow the structure?", "", [forest, tied])


def reaching(result: Result) -> Section:
    table = result.tables["reaches"]
    names = [name for name in table.columns if name != "distance"]
    curve = charts.curves(
        table,
        charts.Column("distance", "distance from the landmark, px"),
        [charts.Column(name, name) for name in names],
        axis="share of absolute attribution",
        heading="How far it reaches",
        caption="Mean over landmarks of the share of a map within a distance.",
        id="reaches",
    )
    return Section("reach", "How far does it reach?", "", [curve])


def examples(result: Result) -> Section:
    table, lines = result.tables["shown"], []
    for name, own in table.by("class").items():
        for kind in KINDS:
            rows = [row for row in own.rows if row["kind"] == kind]
            pictures = [
                Picture(
                    row["picture"],
                    f"map of {kind} at {row['y']}, {row['x']} of {row['sample']}, outlined",
                    _said(row),
                )
                for row in rows
            ]
            if pictures:
                lines.append((f"{name} · {kind}", pictures))
    most = max((len(pictures) for _, pictures in lines), default=0)
    padded = [(name, [*own, *[None] * (most - len(own))]) for name, own in lines]
    bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the picture's largest")
    heads = ["nearest to the median", *[f"{n + 1}." for n in range(1, most)]]
    blocks: list[Block] = [Gallery(heads[:most], padded, bar=bar)] if lines else []
    text = "In the middle of each picture lies a landmark; the line is the structure's border."
    return Section("examples", "Landmarks and their maps", text, blocks)


def _said(row: Mapping[str, Any]) -> str:
    thick = f"{row['thickness']:.0f} px thick"
    if row["anisotropy"] is None or not np.isfinite(row["anisotropy"]):
        return thick
    return f"{thick}; holds {2 ** row['anisotropy']:.1f} times what it holds turned"


def numbers(result: Result) -> Section:
    names = ("followed", "reaches", "tied", "shown")
    tables = [TableBlock(result.tables[key], result.tables[key].caption) for key in names]
    return Section("numbers", "All numbers", "", [one for one in tables if one.table.rows])

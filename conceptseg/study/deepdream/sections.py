"""The sections of a deepdream report, each from the result alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import FigureBlock, Gallery, Picture, Section, TableBlock
from conceptseg.result.columns import Column, as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.deepdream.assess import CLAIMED, SHORT
from conceptseg.study.deepdream.descriptors import NAMES, PREDICTED, RELATIVE
from conceptseg.study.deepdream.tables import FLIPPED, NATURAL, P_CORRECTED, PIXEL
from conceptseg.study.deepdream.travel import WALKS

CURVES_SHOWN = 6
CUT = 5.0
SAYING = (*CLAIMED, "ignored", SHORT)
"""The conclusions that say something of a descriptor; then those that do not."""
ORDER = (*SAYING, "no finding", "not testable")


def paths(result: Result) -> Section:
    """How much of the region flips, by kind of path and walk."""
    table = result.tables["paths"]
    flips = charts.forest(
        table,
        lambda row: f"{WALKS[row['walk']]}, {row['path']}",
        FLIPPED,
        filled=lambda row: row["walk"] in ("pixel", "phase"),
        marks=("path of the network", "null path"),
        heading="How far the regions flip",
        caption="Mean over starts with 95 % intervals. The table says how long the paths are and "
        "how much of the change lies inside the region, which covers the share of the image "
        "beside it.",
        id="flips",
    )
    return Section(
        "paths",
        "The paths",
        "From each start a path is taken by changing pixels, and one by changing the phases of the "
        "image's own waves; two null paths are as long.",
        [
            flips,
            TableBlock(result.tables["outside"], "Where the pixel paths change the image"),
            TableBlock(table, "All paths", folded=True),
        ],
    )


def cues(result: Result) -> Section:
    """What changes, and a quadrant plot of change on the path against the data's contrast."""
    table = result.tables["cues"].show(
        "path", "what", "conclusion", PIXEL, "phase", "smooth", "shuffled", "reach", NATURAL,
        P_CORRECTED, "starts",
    )  # fmt: skip
    names = [name for name in NAMES if name not in RELATIVE]
    places = ("descriptor", names), ("path", result.notes["routes"])
    claimed = table.where(lambda row: row["conclusion"] in CLAIMED)
    change = charts.heatmap(
        np.clip(charts.grid(table, *places, PIXEL), -CUT, CUT),
        [NAMES[name] for name in names],
        result.notes["routes"],
        value=f"change on the pixel path (SD), cut at {CUT:g}",
        marked={
            "finding": np.isfinite(charts.grid(claimed, *places, PIXEL)),
            f"corrected p at most {ALPHA}": charts.grid(table, *places, P_CORRECTED) <= ALPHA,
        },
        heading="What the paths change",
        caption="In standard deviations of the descriptor over regions of a class. A dot marks "
        "findings: beyond both null paths, the phase path agrees, corrected p at most "
        f"{ALPHA}.",
        id="change",
        below=table,
    )
    saying = table.where(lambda row: row["conclusion"] in SAYING)
    listed = TableBlock(saying, "What must change, and what need not") if saying.rows else None
    return Section("cues", "What must change", "", [change, _quadrants(table), listed])


def _quadrants(table: Table) -> FigureBlock | None:
    known = table.where(lambda row: None not in (row["natural"], row["pixel"]))
    block = charts.scatter(
        known.where(lambda row: row["descriptor"] not in PREDICTED),
        NATURAL,
        Column("pixel", "change on the pixel path (SD)"),
        "conclusion",
        lambda row: f"{row['what']}: {row['path']}",
        order=ORDER,
        cut=CUT,
        size_px=8,
        heading="Paths against the data",
        caption="Top right and bottom left: the path goes the way the data do. Top left and bottom "
        "right: against the data. On the vertical axis: changes that no class shows. On the "
        "horizontal axis: what differs in the data and hardly changes; the colour shows whether it "
        f"is ignored, or the path too short to tell. Cut at {CUT:g}.",
        id="quadrants",
        below=table,
    )
    if block is not None:
        figure: Any = block.figure
        figure.add_hline(y=0, line={"color": "#888888", "width": 1})
        figure.add_vline(x=0, line={"color": "#888888", "width": 1})
    return block


def curves(result: Result) -> Section:
    """Small multiples: the descriptors with the largest effects, along all four walks."""
    strongest = result.tables["cues"].where(
        lambda row: row["descriptor"] not in PREDICTED and row["pixel"] is not None
    )
    strongest = strongest.sorted(
        lambda row: (row["conclusion"] not in CLAIMED, -abs(as_number(row["pixel"])))
    )
    blocks = []
    for number, row in enumerate(strongest.first(CURVES_SHOWN).rows):
        own = result.tables["curves"].by("path")[row["path"]]
        parts = sorted(own.by("part"))
        change = charts.grid(own, ("part", parts), ("walk", list(WALKS)), row["descriptor"])
        lines = dict(zip(WALKS.values(), change.T.tolist(), strict=True))
        block = charts.curves(
            Table.of_columns({"part": parts, **lines}),
            Column("part", "part of the path"),
            list(WALKS.values()),
            axis="change (SD)",
            heading=f"{row['what'][0].upper()}{row['what'][1:]}: {row['path']}",
            caption=f"Mean over {row['starts']} starts. {row['conclusion'].capitalize()}.",
            id=f"curve-{number}",
        )
        blocks.append(block)
    return Section("curves", "Along the paths", "The strongest changes, findings first.", blocks)


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of a kind of path the first and the last picture of each that is shown, in pixels first."""
    rows = sorted(result.tables["strips"].rows, key=lambda row: row["walk"] != "pixel")

    def chosen(finding: Finding) -> Sequence[Picture]:
        own = [row for row in rows if row["path"] == finding.details.get("path")]
        return [
            Picture(
                key, f"{row['sample']}, {when} of the path: {row['path']}", "", (row["outline"],)
            )
            for row in own[:3]
            for key, when in ((row["pictures"][0], "start"), (row["pictures"][-1], "end"))
        ]

    return chosen


def strips(result: Result) -> Section | None:
    """Film strips: the picture at each point of a path."""
    rows = result.tables["strips"].rows
    if not rows:
        return None
    shown: list[tuple[str, list[Picture | None]]] = []
    for row in rows:
        name = f"{row['path']}, {WALKS[row['walk']]}"
        cells: list[Picture | None] = [
            Picture(key, f"{name}, {row['sample']}, point {k}", "", (row["outline"],))
            for k, key in enumerate(row["pictures"])
        ]
        shown.append((f"{name} ({as_number(row['flipped']):.0%} flipped)", cells))
    last = len(rows[0]["pictures"]) - 1
    gallery = Gallery(["start", *(f"{k / last:.0%}" for k in range(1, last + 1))], shown)
    intro = "The outline is the region whose class is to change; it stays where it is."
    return Section("strips", "Pictures along the paths", intro, [gallery])


def numbers(result: Result) -> Section:
    cues = TableBlock(result.tables["cues"], "Every descriptor", folded=True, limit=1000)
    starts = TableBlock(result.tables["starts"], "Every start", folded=True, limit=500)
    return Section("numbers", "All numbers", "", [cues, starts])

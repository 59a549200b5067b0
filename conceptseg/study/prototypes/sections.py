"""The sections of a prototypes report, each from the result alone."""

from collections.abc import Callable, Sequence

from conceptseg.report import charts
from conceptseg.report.blocks import Block, ColourBar, Gallery, Picture, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.prototypes.tables import (
    COVERED,
    DOUBT,
    GAP,
    MORE,
    OTHER_WRONG,
    OUTSIDE,
    RARE_WRONG,
    SHARE,
    UNLIKELY_AREA,
    WRONG,
)

CHARTS = 4
"""Classes whose concepts are drawn; those of all are in the table."""
BAR = ColourBar("balance", -1.0, 1.0, "relevance, relative to the picture's largest")


def prototypes(result: Result) -> Section:
    """A row of nearest regions for each prototype, and the maps of what sets it apart."""
    rows, apart = result.tables["prototypes"].rows, result.tables["apart"]
    most = max((len(row["pictures"]) for row in rows), default=0)
    maps = [[one for one in _of(apart.rows, row) if one["picture"]] for row in rows]
    wide = max(map(len, maps), default=0)
    lines = []
    for row, own in zip(rows, maps, strict=True):
        cells: list[Picture | None] = [
            Picture(key, f"region of {_title(row)}, outlined") for key in row["pictures"]
        ]
        cells += [None] * (most - len(cells))
        cells += [_map(one) for one in own] + [None] * (wide - len(own))
        lines.append((_line(row), cells))
    heads = [f"{n + 1}." for n in range(most)] + [f"concept {n + 1}" for n in range(wide)]
    blocks: list[Block | None] = [Gallery(heads, lines, bar=BAR, id="prototypes")] if lines else []
    for name, each in list(apart.by("class").items())[:CHARTS]:
        told = each.where(lambda row: row["gap"] is not None)
        blocks.append(
            charts.forest(
                told.show("prototype", "concept", GAP),
                lambda row: f"prototype {row['prototype']} · {row['concept']}",
                GAP,
                reference=0.0,
                heading=f"What sets the prototypes of {name} apart",
                caption="How much more of a region's relevance lies on a concept than in the "
                "class's other regions. Concepts were chosen on regions that are not counted here.",
            )
        )
    text = (
        "Each row is a way in which regions of a class are decided: the regions nearest to its "
        "mean, then where in the first one's image the relevance lies of the concepts that set it "
        "apart."
    )
    return Section("ways", "In which ways is each class decided?", text, blocks)


def _of(rows: Sequence[Row], prototype: Row) -> list[Row]:
    keys = ("class", "prototype")
    return [row for row in rows if all(row[key] == prototype[key] for key in keys)]


def _title(row: Row) -> str:
    return f"{row['class']}, prototype {row['prototype']}"


def _line(row: Row) -> str:
    said = f"{_title(row)}: {row['share']:.0%} of new regions"
    if row["wrong"] is not None:
        said += f", {row['wrong']:.0%} wrong"
    if row["name"]:
        said += f"; {row['name']} ({row['here']:.0%}, of others {row['elsewhere']:.0%})"
    return said


def _map(row: Row) -> Picture:
    more = "" if row["gap"] is None else f" ({row['gap']:+.2f})"
    alt = f"where the relevance of {row['concept']} lies for {_title(row)}"
    return Picture(row["picture"], alt, f"{row['concept']}{more}")


def standing(result: Result) -> Section:
    """How often the regions of each prototype are wrong, and how prototypes cover the classes."""
    table = result.tables["prototypes"]
    forest = charts.forest(
        table.where(lambda row: row["more"] is not None).show(
            "class", "prototype", "name", SHARE, OUTSIDE, WRONG, MORE, "p_adjusted"
        ),
        lambda row: f"{_title(row)}" + (f" ({row['name']})" if row["name"] else ""),
        MORE,
        reference=0.0,
        filled=lambda row: row["p_adjusted"] is not None and row["p_adjusted"] <= ALPHA,
        heading="Which ways of deciding stand for errors",
        caption="How much more often regions of a prototype are wrong than the class's others, on "
        "groups that the mixture was not fitted to. Filled: corrected over all prototypes; where a "
        "class has two they are one test.",
        id="standing",
    )
    covered = charts.forest(
        result.tables["coverage"].show(
            "class", "prototypes", "fitted", "groups", "least_p", "judged", "outliers", COVERED
        ),
        "class",
        COVERED,
        reference=1 - result.notes["rare"],
        heading="How much of each class the prototypes cover",
        caption="Share of the judged regions that are not rare. Of regions like those that "
        "calibrate it is at least where the line stands.",
        id="covered",
    )
    return Section("errors", "Which ways stand for errors?", "", [forest, covered])


def outliers(result: Result) -> Section:
    """The most unlikely regions, and whether being unlikely foretells that a region is wrong."""
    notes, lines = result.notes, []
    for row in result.tables["unlikely"].rows:
        if row["picture"]:
            lines.append((f"{row['class']} in {row['sample']}", _cells(row)))
    heads = ["the region", "what it departs in", "its likeliest prototype"]
    gallery = Gallery(heads, lines, bar=BAR, id="outliers") if lines else None
    areas = charts.bars(
        result.tables["foretell"].where(lambda row: row["difference"] is not None),
        "class",
        {"being unlikely": UNLIKELY_AREA, "the network's doubt": DOUBT},
        axis="chance of a wrong region to rank above a right one",
        heading="What foretells a wrong region",
        caption="One half is chance. Doubt is 1 less the mean largest probability over the region.",
        id="foretell",
    )
    told = result.tables["coverage"].where(lambda row: row["other_wrong"] is not None)
    rare = charts.bars(
        told,
        "class",
        {"rare ones": RARE_WRONG, "others": OTHER_WRONG},
        axis="part that is wrong",
        heading="Rare regions and others",
        caption=f"Of the judged regions; rare are those with a p-value up to {notes['rare']:g}.",
        id="rare",
    )
    text = (
        f"{notes['outliers']} of {notes['judged']} judged regions are outliers after correction "
        "over all. Here are those of each class that are most unlikely, whether outliers or not."
    )
    return Section("unlike", "Which regions are decided otherwise?", text, [gallery, rare, areas])


def _cells(row: Row) -> list[Picture | None]:
    p = f"p {row['p']:.3f}" + (", an outlier" if row["outlier"] else "")
    said = f"{row['outcome']}, confidence {row['confidence']:.2f}, {p}"
    cells: list[Picture | None] = [Picture(row["picture"], "unlikely region, outlined", said)]
    departs = f"{row['concept']} {row['gap']:+.2f}"
    cells.append(
        Picture(row["map"], f"where the relevance of {row['concept']} lies", departs)
        if row["map"]
        else None
    )
    like = f"prototype {row['prototype']}"
    cells.append(Picture(row["like"], f"region of {like}, outlined", like) if row["like"] else None)
    return cells


def chance(result: Result) -> Section:
    """The spread of p-values against what exchangeable regions have."""
    table = result.tables["calibration"]
    names = [name for name in table.columns if name != "level"]
    kept = [name for name in names if table.rows and table.rows[0][name] is not None]
    curve = charts.curves(
        table,
        charts.Column("level", "p-value"),
        [charts.Column(name, name) for name in kept],
        axis="share of regions with a p-value so small",
        heading="How p-values are spread",
        caption="Of regions like those that calibrate no more than the diagonal; they lie below "
        "it, since a group counts by its least likely region.",
        id="calibration",
    )
    return Section("chance", "How much is chance?", "", [curve])


def numbers(result: Result) -> Section:
    names = ("prototypes", "apart", "tried", "coverage", "foretell", "unlikely")
    shown = [result.tables[key] for key in names if result.tables[key].rows]
    hidden = {"pictures", "picture", "map", "like"}
    blocks = [
        TableBlock(one.show(*[c for c in one.columns if c not in hidden]), one.caption)
        for one in shown
    ]
    return Section("numbers", "All numbers", "", blocks)


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of a prototype its nearest regions; of outliers and rare regions the most unlikely ones."""

    def pictures(finding: Finding) -> list[Picture]:
        if finding.evidence == "standing":
            rows = result.tables["prototypes"].rows
            own = {"class": finding.class_, "prototype": finding.details["prototype"]}
            keys = [key for row in _of(rows, own) for key in row["pictures"]]
            said = f"region of {finding.class_}, prototype {own['prototype']}, outlined"
            return [Picture(key, said) for key in keys]
        rows = result.tables["unlikely"].rows
        return [
            Picture(row["picture"], f"unlikely region of {row['class']}, outlined", row["outcome"])
            for row in rows
            if row["picture"]
            and finding.class_ in (None, row["class"])
            and (row["outlier"] or finding.evidence != "outliers")
        ]

    return pictures

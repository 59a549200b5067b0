"""The sections of an examples report, each from the result alone."""

from conceptseg.report import charts
from conceptseg.report.blocks import Block, Gallery, Picture, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.examples.tables import CHANCE, DOUBT, GAP, LEFT, MORE, NEARNESS, SHARE, WRONG

CURVES = 6
"""Classes whose curves are drawn; those of all are in the table."""


def portraits(result: Result) -> Section:
    """A row of prototypes and criticisms for each class."""
    table = result.tables["standing"]
    most = {
        kind: max((row["rank"] for row in table.rows if row["kind"] == kind), default=0)
        for kind in ("prototype", "criticism")
    }
    columns = [(kind, rank) for kind, count in most.items() for rank in range(1, count + 1)]
    lines = []
    for name, own in table.by("class").items():
        at = {(row["kind"], row["rank"]): row for row in own.rows}
        lines.append((name, [_picture(at.get(place)) for place in columns]))
    gallery = Gallery([f"{kind} {rank}" for kind, rank in columns], lines)
    text = (
        "Prototypes are real objects that together stand for all of their class; criticisms are "
        "those that they stand for worst. Under each: what share of the class is nearest to it, "
        "and how many of these are wrong."
    )
    return Section("portraits", "The objects that stand for a class", text, [gallery])


def _picture(row: Row | None) -> Picture | None:
    if row is None or not row["picture"]:
        return None
    said = row["outcome"]
    if row["kind"] == "prototype":
        said += f"; stands for {row['share']:.0%}"
        if row["wrong"] is not None:
            said += f", of which {row['wrong']:.0%} wrong"
    alt = f"{row['kind']} {row['rank']} of {row['class']} in {row['sample']}, outlined"
    return Picture(row["picture"], alt, said)


def standing(result: Result) -> Section:
    """How often the objects of each prototype are wrong."""
    table = result.tables["standing"].where(lambda row: row["more"] is not None)
    forest = charts.forest(
        table.show("class", "rank", SHARE, WRONG, MORE, "p_adjusted"),
        lambda row: f"{row['class']} · {row['rank']}",
        MORE,
        reference=0.0,
        filled=lambda row: row["p_adjusted"] is not None and row["p_adjusted"] <= ALPHA,
        heading="Which examples stand for errors",
        caption="Each object goes to the prototype that it is most like; shown is how much more "
        "often the objects of a prototype are wrong than the class's others. Prototypes were "
        "chosen without a look at outcomes. Filled: corrected over all prototypes.",
        id="standing",
    )
    table = result.tables["curve"]
    curves = []
    for name, own in list(table.by("class").items())[:CURVES]:
        places = own.numbers("chance_low"), own.numbers("chance_high")
        curves.append(
            charts.curves(
                own,
                charts.Column("prototypes"),
                (LEFT, CHANCE),
                axis="squared MMD",
                bands={CHANCE.name: places},
                heading=f"How well they stand for {name}",
                caption="What is left between the prototypes and all objects of the class; the "
                "band holds nine tenths of random sets of as many.",
            )
        )
    return Section("errors", "Which examples stand for errors", "", [forest, *curves])


def foretell(result: Result) -> Section:
    """Nearness beside the network's doubt."""
    table = result.tables["foretell"].where(lambda row: row["difference"] is not None)
    areas = charts.bars(
        table,
        "class",
        {"nearer to wrong examples": NEARNESS, "the network's doubt": DOUBT},
        axis="chance of a wrong object to rank above a right one",
        heading="What foretells a wrong object",
        caption="One half is chance. Each object is judged by objects of other groups alone: the "
        f"mean likeness of its {result.notes['neighbours']} nearest wrong ones less that of its "
        "nearest right ones. Doubt is 1 less the mean largest probability over the object.",
        id="areas",
    )
    gap = charts.forest(
        table,
        "class",
        GAP,
        reference=0.0,
        heading="Nearness less doubt",
        caption="Right of the line, examples foretell errors better than the network's own "
        "confidence does. Of single classes the intervals are not corrected.",
        id="foretell",
    )
    cases = result.tables["cases"]
    lines = [
        (
            f"{row['class']}: nearer to wrong ones by {row['score']:.2f}",
            [
                Picture(row["picture"], f"wrong object in {row['sample']}, outlined"),
                _near(row, "wrong"),
                _near(row, "right"),
            ],
        )
        for row in cases.rows
        if row["picture"]
    ]
    heads = ["a wrong object", "nearest wrong one", "nearest right one"]
    gallery = Gallery(heads, lines, "Wrong objects and their neighbours") if lines else None
    blocks: list[Block | None] = [areas, gap, gallery]
    return Section("neighbours", "Do examples foretell errors?", "", blocks)


def _near(row: Row, kind: str) -> Picture | None:
    key = row[f"picture {kind}"]
    return Picture(key, f"nearest {kind} object, in {row['nearest ' + kind]}") if key else None


def numbers(result: Result) -> Section:
    names = ("standing", "curve", "foretell", "cases")
    tables = [TableBlock(result.tables[key], result.tables[key].caption) for key in names]
    return Section("numbers", "All numbers", "", [one for one in tables if one.table.rows])

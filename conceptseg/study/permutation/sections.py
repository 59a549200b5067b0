"""The sections of a permutation report, each from the result alone."""

from collections.abc import Callable, Sequence

from conceptseg.report import charts
from conceptseg.report.blocks import Block, FigureBlock, Gallery, Picture, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.report.panels import key_of
from conceptseg.result.columns import as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.permutation.config import OVERALL
from conceptseg.study.permutation.tables import LOSS, P_ADJUSTED, P

SHOWN = 40
MARKS = ("needed", "not shown to be needed")
ORDER = ("swap", "conditional", "mean", "block", "pixel")
AXIS = "loss of IoU, mean over classes"


def swaps(result: Result) -> Table:
    """What whole parts of other images cost."""
    return result.tables["importance"].where(lambda row: row["scheme"] == "swap")


def needed(row: Row) -> bool:
    """Whether a part was shown to be needed."""
    return as_number(row["p_adjusted"]) <= ALPHA and as_number(row["low"]) > 0


def ranking(result: Result) -> Section:
    """The forest over all classes, and classes by parts."""
    notes, table = result.notes, swaps(result)
    overall = table.where(lambda row: row["class"] == OVERALL)
    overall = overall.sorted(lambda row: -row["value"]).first(SHOWN)
    forest = charts.forest(
        _shown(overall),
        "part",
        LOSS,
        axis=AXIS,
        reference=notes["smallest_effect"],
        filled=needed,
        marks=MARKS,
        least=notes["smallest_effect"],
        heading="What cannot be exchanged",
        caption=f"Each part of the image replaced by that of another image, {notes['repeats']} to "
        f"{notes['most_repeats']} times; 95 % intervals over images and exchanges. Filled: loses "
        f"more than {notes['smallest_effect']:.3f} (dotted), corrected over all parts and classes "
        "together. The table gives the loss that would have been detected; none where it is "
        "more than all of the class's IoU.",
        id="forest",
    )
    parts = [row["part"] for row in overall.rows]
    by_class = _by_class(table, parts, [OVERALL, *notes["classes"]], notes["smallest_effect"])
    return Section("ranking", "What the network needs of its images", "", [forest, by_class])


def _by_class(
    table: Table, parts: list[str], classes: list[str], least: float
) -> FigureBlock | None:
    loss, adjusted, alone = (
        charts.grid(table, ("part", parts), ("class", classes), column)
        for column in (LOSS, P_ADJUSTED, P)
    )
    return charts.heatmap(
        loss,
        parts,
        classes,
        value=LOSS.name,
        corner="part",
        marked={"corrected": adjusted <= ALPHA, "uncorrected": alone <= ALPHA},
        heading="Class by class",
        caption="The same, class by class. Brown: the class loses overlap. A dot: more than the "
        "smallest effect, by the criterion chosen below the chart.",
        id="by-class",
        least=least,
    )


def schemes(result: Result) -> Section:
    """Each channel part by every scheme, below each other."""
    notes, tables = result.notes, result.tables
    table = tables["importance"].where(
        lambda row: row["class"] == OVERALL and row["family"] == "channels"
    )
    several = {row["part"] for row in table.rows if row["scheme"] != "swap"}
    table = table.where(lambda row: row["part"] in several)
    caption = (
        "Swap takes the donor's channel as it is, though it may not fit the other channels: part "
        "of the loss is then due to an impossible image. Conditional takes only what the other "
        "channels cannot predict. Where swap costs much and conditional little, the others could "
        "stand in for it. Mean: the data set's mean."
    )
    if {"block", "pixel"} & set(notes["schemes"]):
        caption += (
            f" Block moves blocks of {notes['block_px']} px about within the image; pixel moves "
            "single pixels, which destroys texture and is for comparison alone."
        )
    forest = charts.forest(
        _shown(table.sorted(lambda row: (row["part"], ORDER.index(row["scheme"])))),
        lambda row: f"{row['part']} · {row['scheme']}",
        LOSS,
        axis=AXIS,
        reference=0.0,
        filled=needed,
        marks=MARKS,
        heading="Scheme by scheme",
        caption=caption,
        id="comp",
    )
    further = (
        (
            "tree",
            "Correlated channels",
            "Channels are grouped by their correlation (Ward), and each group is swapped whole. "
            "Two channels that carry the same information can each look useless alone; together "
            "they show.",
        ),
        (
            "pairs",
            "Two parts at once",
            "Below zero, the two carry the same information in part, or either is enough to lose "
            "all; above zero, they stand in for each other: only both together are missed.",
        ),
    )
    blocks = [TableBlock(tables[k], title, text) for k, title, text in further if tables[k].rows]
    return Section("schemes", "Alone, given the others, and together", "", [forest, *blocks])


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of a part the images whose part is another's, each beside the image as it is: of a class
    those that hold it."""
    at = result.tables["examples"].by("what")

    def chosen(finding: Finding) -> Sequence[Picture]:
        changed = at.get(f"{finding.details.get('part')}, swap")
        if changed is None:
            return ()
        clean = {row["sample"]: row for row in next(iter(at.values())).rows}
        own = finding.class_
        rows = [
            row
            for row in changed.rows
            if (_in_gallery(row) if own is None else own in row.get("classes", ()))
        ]
        pairs = [(clean[row["sample"]], row) for row in rows if row["sample"] in clean]
        return [_example(row) for pair in pairs for row in pair]

    return chosen


def _in_gallery(row: Row) -> bool:
    """Results of earlier versions have no others."""
    return bool(row.get("gallery", True))


def _example(row: Row) -> Picture:
    return Picture(row["picture"], f"{row['what']}: {row['sample']} and its prediction")


def examples(result: Result) -> Section:
    rows = [row for row in result.tables["examples"].rows if _in_gallery(row)]
    samples = list(dict.fromkeys(row["sample"] for row in rows))
    at = {(row["what"], row["sample"]): row for row in rows}

    def picture(what: str, sample: str) -> Picture | None:
        row = at.get((what, sample))
        return None if row is None else _example(row)

    lines = [
        (what, [picture(what, sample) for sample in samples])
        for what in dict.fromkeys(row["what"] for row in rows)
    ]
    blocks: list[Block] = [Gallery(samples, lines, key=key_of(result))] if rows else []
    text = (
        "Each changed image with the prediction beside it, for the images that exchanges change "
        "most."
    )
    return Section("examples", "What an exchange looks like", text, blocks)


def _shown(table: Table) -> Table:
    return table.show(*(name for name in table.columns if name not in ("class", "family")))

"""The sections of a dictionary report, each from the result alone."""

from collections.abc import Callable, Sequence

from conceptseg.report import charts
from conceptseg.report.blocks import Block, Card, Cards, Gallery, Picture, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.report.panels import key_of
from conceptseg.result.columns import as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.dictionary.tables import CHANGE, HARM, RECOVERS, REGAINED, SOBOL
from conceptseg.study.shared.atoms import NONE
from conceptseg.study.shared.verdicts import MARKS, beside_random, meanings, open_pairs

BARS = 24
"""Atoms in the chart of what they cost."""


def repairs(result: Result) -> Section:
    """What one atom gives back where a class fails."""
    table = result.tables["repairs"]
    forest = charts.forest(
        table,
        lambda row: f"{row['class']} · {row['name']}",
        REGAINED,
        reference=0.0,
        filled=lambda row: row["p_adjusted"] is not None and row["p_adjusted"] <= ALPHA,
        heading="How much of what was lost one atom gives back",
        caption="On failing images of the half that did not choose the atom. 1: as good as right "
        "images; 0: nothing done. Filled: more than nothing, and more than the mean of all other "
        "atoms, each set to its own mean; corrected over classes.",
        id="repairs",
    )
    harm = charts.forest(
        table,
        lambda row: f"{row['class']} · {row['name']}",
        HARM,
        reference=0.0,
        heading="What the same does where the class does not fail",
        caption="Change of IoU, over all classes of an image.",
        id="harm",
    )
    lines = [
        (
            f"{row['class']} in {row['sample']}",
            [
                Picture(row[which], f"{row['sample']}, labels and prediction, {which} the repair")
                for which in ("before", "after")
            ],
        )
        for row in result.tables["mended"].rows
    ]
    gallery = (
        Gallery(("as it is", "atom set to its mean"), lines, "Failures", key=key_of(result))
        if lines
        else None
    )
    text = (
        "On images in which a class fails, one atom is set to what it is, on average, in images in "
        "which the class is right."
        if table.rows
        else f"No class fails (IoU below {result.notes['failing']:g}) in enough labelled images."
    )
    return Section("repair", "What failures hang on", text, [forest, harm, gallery])


def atoms(result: Result) -> Section:
    """A card of each shown atom."""
    rows = {row["atom"]: row for row in result.tables["atoms"].rows}
    cards = [
        Card(
            title=_title(rows[number]),
            facts=_facts(rows[number]),
            pictures=[
                Picture(one["picture"], f"atom {number} in {one['sample']}, outlined")
                for one in own.rows
            ],
            badges=[rows[number]["tag"]],
            id=f"atom-{number}",
        )
        for number, own in result.tables["shown"].by("atom").items()
    ]
    text = (
        "Outlined is where the code is more than half of its largest in the image. The badge says "
        "where the atom is densest, of the class that its erasure costs most: inside its region, "
        "on its boundary, in a ring around it, or elsewhere."
    )
    blocks: list[Block | None] = [Cards(cards, shown=16)] if cards else []
    return Section("atoms", "The atoms", text, blocks)


def _title(row: Row) -> str:
    return f"Atom {row['atom']}" + ("" if row["name"] == NONE else f": {row['name']}")


def _facts(row: Row) -> list[tuple[str, str]]:
    facts = [("Costs most", f"{row['class']}, {as_number(row['change']):+.3f} IoU")]
    if row["used_by"]:
        facts.append(("Used by", str(row["used_by"])))
    if row["name"] != NONE:
        overlap, chance = as_number(row["overlap"]), as_number(row["by_chance"])
        facts.append(("Overlap with its name", f"{overlap:.2f} ({chance:.2f} by chance)"))
    facts.append(("Densest", f"{row['tag']}, {as_number(row['density']):.1f} times"))
    if row["sobol"] is not None:
        facts.append(("Total Sobol index", f"{as_number(row['sobol']):.2f}"))
    facts.append(("Stability", f"{as_number(row['stability']):.2f}"))
    return facts


def worth(result: Result) -> Section:
    """What erasing costs, and the Sobol indices beside it."""
    table = result.tables["losses"].sorted(lambda row: as_number(row["change"]))
    ids = [id(row) for row in table.rows[:BARS]]
    forest = charts.forest(
        table.where(lambda row: id(row) in ids),
        lambda row: f"{row['class']} · {row['name']}",
        CHANGE,
        reference=0.0,
        filled=lambda row: row["verdict"] == "used",
        marks=MARKS,
        heading="What classes lose without an atom",
        caption=f"The {BARS} largest losses of {len(table.rows)}. {meanings()}",
        id="losses",
    )
    indexed = result.tables["atoms"].where(lambda row: row["sobol"] is not None)
    sobol = charts.forest(
        indexed.sorted(lambda row: -as_number(row["sobol"])),
        _title,
        SOBOL,
        reference=0.0,
        heading="Alone, or with others",
        caption="Share of the variance of the classes' log-probability that an atom has a part in "
        "when all of these are dimmed at random. Shares add up to more than 1 where atoms act "
        "together.",
        id="sobol",
    )
    text = beside_random(table, "random directions") + open_pairs(table, "change")
    return Section("worth", "What atoms are worth", text, [forest, sobol])


def recovered(result: Result) -> Section:
    """How many atoms rebuild the prediction."""
    table = result.tables["tried"]
    forest = charts.forest(
        table,
        lambda row: f"{row['atoms']} atoms",
        RECOVERS,
        reference=result.notes["recovered"],
        filled=lambda row: bool(row["taken"]),
        marks=("taken", "not taken"),
        heading="How much of the prediction atoms recover",
        caption="IoU, mean over the classes of an image, of the prediction from the atoms alone "
        "with the network's own. Of those beyond the line the fewest are taken.",
        id="recovered",
    )
    return Section("complete", "Is the dictionary complete?", "", [forest])


def numbers(result: Result) -> Section:
    names = ("tried", "atoms", "repairs", "losses")
    tables = [TableBlock(result.tables[key], result.tables[key].caption) for key in names]
    return Section("numbers", "All numbers", "", [one for one in tables if one.table.rows])


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """The pictures of a finding: of a repair, its failures before and after."""

    def chosen(finding: Finding) -> Sequence[Picture]:
        if not finding.fault:
            return ()
        return [
            Picture(row[which], f"{row['sample']}, labels and prediction, {which} the repair")
            for row in result.tables["mended"].rows
            if row["class"] == finding.class_
            for which in ("before", "after")
        ]

    return chosen

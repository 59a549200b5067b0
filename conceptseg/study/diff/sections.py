"""The sections of a diff report, each from the result alone."""

from collections.abc import Callable, Sequence

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import Block, Card, Cards, Gallery, Picture, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.report.panels import key_of
from conceptseg.result.columns import as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.study.diff.tables import CHANGE, SHIFT

BARS = 24
SIDES = ("before", "after")
MARKS = ("shown", "not shown")


def classes(result: Result) -> Section:
    """How each class changed, and where."""
    forest = charts.forest(
        result.tables["classes"],
        "class",
        CHANGE,
        reference=0.0,
        filled=lambda row: bool(row["shown"]),
        marks=MARKS,
        heading="What became better and worse",
        caption="The other network's IoU less the network's, image by image. Filled: corrected "
        f"over classes, {result.notes['smallest_effect']:g} or more, and more than any other seed.",
        id="classes",
    )
    rows = [
        (
            f"{row['class']} in {row['sample']}",
            [
                Picture(row[side], f"{row['sample']}, labels and prediction {side}")
                for side in SIDES
            ],
        )
        for row in result.tables["examples"].rows
    ]
    gallery = (
        Gallery(SIDES, rows, "Where classes changed most", key=key_of(result)) if rows else None
    )
    return Section("classes-changed", "What either predicts", "", [forest, gallery])


def concepts(result: Result) -> Section:
    """What classes owe to concepts, before and after."""
    table = result.tables["shifts"].sorted(lambda row: -abs(as_number(row["change"])))
    kept = [id(row) for row in table.rows[:BARS]]
    forest = charts.forest(
        table.where(lambda row: id(row) in kept),
        lambda row: f"{row['class']} · {row['name']}",
        SHIFT,
        reference=0.0,
        filled=lambda row: bool(row["shown"]),
        marks=MARKS,
        heading="What classes owe to concepts",
        caption=f"The {BARS} largest of {len(table.rows)} changes. Above 0: erasing the concept "
        "costs less than before. Filled: corrected over all concepts and classes, large enough, "
        "and more than any other seed.",
        id="shifts",
    )
    names = {row["concept"]: row["name"] for row in table.rows}
    rows = {row["concept"]: row for row in result.tables["concepts"].rows}
    cards = [
        Card(
            title=names[number][:1].upper() + names[number][1:],
            facts=[
                ("Other network's share", f"{as_number(rows[number]['weight']):.2f}"),
                *[
                    (
                        f"Erased, {row['class']}",
                        f"{as_number(row['before']):+.3f} before, {as_number(row['after']):+.3f} "
                        f"after{_drift(row)}",
                    )
                    for row in table.rows
                    if row["concept"] == number
                ][:3],
            ],
            pictures=[
                Picture(row[side], f"concept {number} {side} in {row['sample']}, outlined", side)
                for row in own.rows
                for side in SIDES
            ],
            id=f"concept-{number}",
        )
        for number, own in result.tables["shown"].by("concept").items()
    ]
    blocks: list[Block | None] = [forest, Cards(cards) if cards else None]
    text = f"The unit of drift: {result.notes['drift']}."
    return Section("concepts", "What classes owe to concepts", text, blocks)


def _drift(row: Row) -> str:
    drift = as_number(row["drift"])
    return f" ({drift:+.1f} units of drift)" if np.isfinite(drift) else ""


def layers(result: Result) -> Section:
    """How alike units are."""
    found = result.tables["units"].numbers("correlation")
    histogram = charts.histogram(
        found,
        {"mean": float(found.mean())},
        value="correlation of a unit with its partner",
        null_name="units",
        heading="Units and their partners",
        caption="Partners are found one to one by the greatest total correlation over all "
        "positions of all images.",
        id="units",
    )
    return Section("layers", "How alike the layers are", "", [histogram])


def numbers(result: Result) -> Section:
    names = ("classes", "shifts", "concepts", "recovers", "units")
    tables = [TableBlock(result.tables[key], result.tables[key].caption) for key in names]
    return Section("numbers", "All numbers", "", [one for one in tables if one.table.rows])


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """The pictures of a finding of a class: where most pixels changed."""

    def chosen(finding: Finding) -> Sequence[Picture]:
        if finding.evidence != "classes":
            return ()
        return [
            Picture(row[side], f"{row['sample']}, labels and prediction {side}")
            for row in result.tables["examples"].rows
            if row["class"] == finding.class_
            for side in SIDES
        ]

    return chosen

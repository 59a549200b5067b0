"""The sections of a permutation report, each from the result alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, FigureBlock, Gallery, Picture, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.permutation.assess import OVERALL
from conceptseg.study.shared import local_maps

Row = dict[str, Any]
ALPHA = 0.05
SHOWN = 40


def _rows(result: Result, **wanted: str) -> list[Row]:
    rows = [dict(row) for row in result.tables["importance"].rows]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def ranking(result: Result) -> Section:
    """The forest over all classes, and classes by parts."""
    notes = result.notes
    rows = _rows(result, scheme="swap", **{"class": OVERALL})
    rows.sort(key=lambda row: -row["value"])
    shown = rows[:SHOWN]
    blocks: list[Block] = []
    if shown:
        figure = figures.intervals(
            [row["part"] for row in shown],
            _column(shown, "value"),
            _column(shown, "low"),
            _column(shown, "high"),
            value_name="loss of IoU, mean over classes",
            reference=notes["smallest_effect"],
            significant=_column(shown, "p_adjusted") <= ALPHA,
            marks=("needed", "not shown to be needed"),
        )
        caption = (
            f"Each part of the image replaced by that of another image, {notes['repeats']} to "
            f"{notes['most_repeats']} times; 95 % intervals over images and exchanges. Filled: "
            f"loses more than {notes['smallest_effect']:.3f} (dotted), corrected over all parts "
            "and classes together. The table gives the loss that would have been found."
        )
        table = _table(result, shown)
        heading = "What cannot be exchanged"
        blocks.append(FigureBlock(figure, heading, caption, caption, table, "forest"))
        blocks.append(_by_class(result, [row["part"] for row in shown]))
    return Section("ranking", "What the network cannot do without", "", blocks)


def _by_class(result: Result, parts: list[str]) -> FigureBlock:
    at = {(r["class"], r["part"]): r for r in _rows(result, scheme="swap")}
    classes = [OVERALL, *result.notes["classes"]]

    def grid(name: str) -> np.ndarray:
        return np.array(
            [[_number(at[c, p][name]) if (c, p) in at else np.nan for c in classes] for p in parts]
        )

    figure = figures.heatmap(
        grid("value"),
        parts,
        classes,
        value_name="loss of IoU",
        significant={"corrected": grid("p_adjusted") <= ALPHA, "uncorrected": grid("p") <= ALPHA},
    )
    caption = (
        "The same, class by class. Brown: the class loses overlap. A dot: more than the smallest "
        "effect, by the criterion chosen below the chart."
    )
    table = Table(
        [
            {"part": part, **dict(zip(classes, row.tolist(), strict=True))}
            for part, row in zip(parts, grid("value"), strict=True)
        ],
        ("part", *classes),
    )
    return FigureBlock(figure, "Class by class", caption, caption, table, "by-class")


def schemes(result: Result) -> Section:
    """Each channel part by every scheme, below each other."""
    notes = result.notes
    rows = [r for r in _rows(result, **{"class": OVERALL}) if r["family"] == "channels"]
    several = {r["part"] for r in rows if r["scheme"] != "swap"}
    order = {name: place for place, name in enumerate(("swap", "conditional", "mean", "block"))}
    rows = [row for row in rows if row["part"] in several]
    rows.sort(key=lambda row: (row["part"], order.get(row["scheme"], 9)))
    blocks: list[Block] = []
    if rows:
        figure = figures.intervals(
            [f"{row['part']} · {row['scheme']}" for row in rows],
            _column(rows, "value"),
            _column(rows, "low"),
            _column(rows, "high"),
            value_name="loss of IoU, mean over classes",
            reference=0.0,
            significant=_column(rows, "p_adjusted") <= ALPHA,
            marks=("needed", "not shown to be needed"),
        )
        caption = (
            "Swap takes the donor's channel as it is, though it may not fit the other channels: "
            "part of what is lost is then the shock of an impossible image. Conditional takes only "
            "what the other channels do not tell. Where swap costs much and conditional little, "
            "the others could stand in for it. Mean: the data set's mean."
        )
        if {"block", "pixel"} & set(notes["schemes"]):
            caption += (
                f" Block moves blocks of {notes['block_px']} px about within the image; pixel "
                "moves single pixels, which destroys texture and is for comparison alone."
            )
        blocks.append(
            FigureBlock(figure, "Scheme by scheme", caption, caption, _table(result, rows), "comp")
        )
    if result.tables["tree"].rows:
        text = (
            "Channels are grouped by their correlation (Ward), and each group is swapped whole. "
            "Two channels that tell the same can each look useless alone; together they show."
        )
        blocks.append(TableBlock(result.tables["tree"], "Channels that go together", text))
    if result.tables["pairs"].rows:
        text = (
            "Below zero the two tell the same in part, or either is enough to lose all; above "
            "zero they stand in for each other: only both together are missed."
        )
        blocks.append(TableBlock(result.tables["pairs"], "Two parts at once", text))
    return Section("schemes", "Alone, given the others, and together", "", blocks)


def examples(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["examples"].rows]
    samples = list(dict.fromkeys(row["sample"] for row in rows))
    whats = list(dict.fromkeys(row["what"] for row in rows))
    at = {(row["what"], row["sample"]): row["picture"] for row in rows}
    shown: list[tuple[str, list[Picture | None]]] = [
        (
            what,
            [
                Picture(at[what, sample], f"{what}: {sample} and its prediction")
                if (what, sample) in at
                else None
                for sample in samples
            ],
        )
        for what in whats
    ]
    blocks: list[Block] = [Gallery(samples, shown)] if rows else []
    text = "Each changed image with the prediction beside it; images that exchanges change most."
    return Section("examples", "What an exchange looks like", text, blocks)


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Exchanges say which part of the input counts; such maps say where in a single image.",
    )


def numbers(result: Result) -> Section:
    return Section(
        "numbers",
        "All numbers",
        "",
        [
            TableBlock(result.tables["clean"], "The classes"),
            TableBlock(result.tables["importance"], "Every exchange", limit=1000, folded=True),
        ],
    )


def _table(result: Result, rows: list[Row]) -> Table:
    whole = result.tables["importance"]
    columns = [name for name in whole.columns if name not in ("class", "family")]
    return Table(rows, columns, whole.labels)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([_number(row[name]) for row in rows], dtype=float)

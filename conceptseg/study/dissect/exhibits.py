"""The section of a dissection's report that shows its units, with pictures."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from conceptseg.report import charts
from conceptseg.report.blocks import Card, Cards, FigureBlock, Picture, Section
from conceptseg.report.unit_cards import top_images, unit_card
from conceptseg.result.columns import Column, as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.apart import apart
from conceptseg.study.dissect.tables import ACTIVE_SHARE, CHANGE, OVERLAP

CURVES = 8


def cards(result: Result) -> Section:
    """A card for each shown unit, and how its IoU depends on the share of pixels that count."""
    rows = {row["unit"]: row for row in result.tables["units"].rows}
    curves, pictures, losses = (
        result.tables[name].by("unit") for name in ("curves", "exemplars", "unit_losses")
    )
    none = Table(())
    shown = [
        _card(rows[unit], own, pictures.get(unit, none), losses.get(unit, none))
        for unit, own in curves.items()
    ]
    text = (
        "Each picture is a whole image, one of those on which the unit is highest; the outline is "
        "where it is active at the threshold that suits its concept. Its highest values need not "
        "lie on that concept."
    )
    lines = _curves(result.tables["curves"], rows, list(curves)[:CURVES])
    return Section("cards", "The units", text, [Cards(shown, shown=12), lines])


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of a concept the images that excite its detectors most, as far as these are shown.

    Each detector's come in turn; of as many groups as there are first, for frames of one drive
    look alike.
    """
    labels = {row["unit"]: row["label"] for row in result.tables["units"].rows if row["detector"]}
    pictures = result.tables["exemplars"].by("unit")

    def chosen(finding: Finding) -> Sequence[Picture]:
        said = str(finding.details.get("concept", ""))
        concepts = {one for part in said.split(" and ") for one in part.split(", ")} | {said}
        own = [unit for unit in pictures if labels.get(unit) in concepts]
        each = [
            list(zip(rows, top_images(unit, rows), strict=True))
            for unit, rows in ((unit, pictures[unit].rows) for unit in own)
        ]
        turns = [one for turn in zip_longest(*each) for one in turn if one is not None]
        if not turns:
            return []
        # Results of earlier versions know no groups.
        groups = [str(row.get("group", row["sample"])) for row, _ in turns]
        order = apart(groups, [row["sample"] for row, _ in turns])
        return [turns[place][1] for place in order.tolist()]

    return chosen


def _card(unit: charts.Row, curve: Table, pictures: Table, losses: Table) -> Card:
    shares = " / ".join(f"{100 * row['quantile']:g}" for row in curve.rows)
    facts = [
        (
            f"IoU at active shares of {shares} %",
            " / ".join(f"{row['iou']:.2f}" for row in curve.rows),
        ),
        ("AUROC", f"{as_number(unit['auroc']):.2f}"),
    ]
    if unit["side"] == "low":
        facts.append(("Active", "where its value is low"))
    text = ""
    for worst in losses.sorted(CHANGE).first(1).rows:
        text = "Ablated alone, it costs no class a thousandth of its IoU."
        if worst["change"] <= -0.0005:
            text = (
                f"Ablated alone, it costs {worst['class']} most: IoU {_signed(worst['change'])}"
                f"{_interval(worst)}; single random units {_signed(worst['random'])}."
            )
    return unit_card(unit, top_images(unit["unit"], pictures.rows), facts, text)


def _interval(row: charts.Row) -> str:
    if row["low"] is None:
        return ""
    return f", 95 % interval {_signed(row['low'])} to {_signed(row['high'])}"


def _signed(value: float | None) -> str:
    """With its sign and three digits, and no signed zero."""
    return f"{round(as_number(value), 3) + 0.0:+.3f}"


def _curves(curves: Table, rows: dict[int, charts.Row], chosen: list[int]) -> FigureBlock | None:
    block = charts.trade_off(
        curves.where(lambda row: row["unit"] in chosen),
        lambda row: f"unit {row['unit']}: {rows[row['unit']]['label']}",
        Column(ACTIVE_SHARE.key, "share of pixels at which the unit is active"),
        OVERLAP,
        heading="How the threshold decides what is detected",
        caption="IoU beyond that of independent masks, at every share of pixels that was tried; "
        "the published share is 0.5 or 1 %. A concept larger than that share is out of reach "
        "there, however well the unit separates it from the rest.",
        id="thresholds",
    )
    if block is not None:
        figure: Any = block.figure
        figure.update_xaxes(type="log")
    return block

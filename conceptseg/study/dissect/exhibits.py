"""The sections of a dissection's report that show pictures."""

from __future__ import annotations

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, Card, Cards, FigureBlock, Section
from conceptseg.report.unit_cards import top_images, unit_card
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.dissect.sections import Row, number
from conceptseg.study.shared import local_maps

CURVES = 8


def cards(result: Result) -> Section:
    """A card for each shown unit, and how its IoU hangs on the share of pixels that count."""
    units = {row["unit"]: dict(row) for row in result.tables["units"].rows}
    curves: dict[int, list[Row]] = {}
    for row in result.tables["curves"].rows:
        curves.setdefault(row["unit"], []).append(dict(row))
    pictures: dict[int, list[Row]] = {}
    for row in result.tables["exemplars"].rows:
        pictures.setdefault(row["unit"], []).append(dict(row))
    losses: dict[int, list[Row]] = {}
    for row in result.tables["unit_losses"].rows:
        losses.setdefault(row["unit"], []).append(dict(row))
    shown = [
        _card(units[unit], curves[unit], pictures.get(unit, []), losses.get(unit, []))
        for unit in curves
    ]
    caption = (
        "Each picture is a whole image, of those on which the unit answers most; the outline is "
        "where it is active at the threshold that suits its concept. Its highest answers need not "
        "lie on that concept."
    )
    blocks: list[Block] = [Cards(shown, shown=12), _curves(result, units, curves)]
    return Section("cards", "The units", caption, blocks)


def _card(unit: Row, curve: list[Row], pictures: list[Row], losses: list[Row]) -> Card:
    facts = [
        (
            "IoU at active shares of "
            + " / ".join(f"{100 * row['quantile']:g}" for row in curve)
            + " %",
            " / ".join(f"{row['iou']:.2f}" for row in curve),
        )
    ]
    facts.append(("AUROC", f"{number(unit['auroc']):.2f}"))
    if unit["side"] == "low":
        facts.append(("Active", "where its value is low"))
    worst = min(losses, key=lambda row: number(row["change"]), default=None)
    text = ""
    if worst is not None and worst["change"] > -0.0005:
        text = "Ablated alone, it costs no class a thousandth of its IoU."
    elif worst is not None:
        text = (
            f"Ablated alone, it costs {worst['class']} most: IoU {_signed(worst['change'])}, 95 % "
            f"interval {_signed(worst['low'])} to {_signed(worst['high'])}; single random units "
            f"{_signed(worst['random'])}."
        )
    return unit_card(unit, top_images(unit["unit"], pictures), facts, text)


def _signed(value: float | None) -> str:
    """With its sign and three digits, and no signed zero."""
    return f"{round(number(value), 3) + 0.0:+.3f}"


def _curves(result: Result, units: dict[int, Row], curves: dict[int, list[Row]]) -> FigureBlock:
    chosen = list(curves)[:CURVES]
    lines = {
        f"unit {unit}: {units[unit]['label']}": (
            np.array([row["active_share"] for row in curves[unit]]),
            np.array([row["overlap"] for row in curves[unit]]),
        )
        for unit in chosen
    }
    figure = figures.trade_off(
        lines, x_name="share of pixels at which the unit is active", y_name="overlap above chance"
    )
    figure.update_xaxes(type="log")
    whole = result.tables["curves"]
    rows = [row for unit in chosen for row in curves[unit]]
    table = Table(rows, whole.columns, whole.labels)
    caption = (
        "IoU beyond that of independent masks, at every share of pixels that was tried; the "
        "published share is 0.5 or 1 %. A concept larger than that share is out of reach there, "
        "however well the unit tells it."
    )
    alt = f"Lines of overlap over active share for {len(chosen)} units. {caption}"
    return FigureBlock(
        figure, "How the threshold decides what is found", alt, caption, table, id="thresholds"
    )


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Where single images are looked at when the class is predicted. All maps of one method "
        "share a scale. Such maps show places, not what is there; the units above name it.",
    )

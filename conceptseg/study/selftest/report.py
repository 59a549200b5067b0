"""The report of the self tests, from their result alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg import catalogue
from conceptseg.report import charts
from conceptseg.report.blocks import Report, Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.selftest.conclude import POWER, RATE

Row = Mapping[str, Any]
LIMITS = (
    "A rate holds for its null, which the table states. It says nothing of networks and data where "
    "a test's assumptions fail otherwise: images that are not independent, effects whose spread "
    "lies on one side.",
    "Draws are dealt from the numbers of real passes of one planted network on one set of scenes; "
    "given these they are independent. Where draws share a few networks the interval counts those.",
    "Nulls are the hardest that were thought of: thresholds of the smallest effect are off, and "
    "what a claim needs besides is there. With a study's own thresholds it is wrong less often.",
    "Power is that of short runs on exact scenes, of networks wired by hand; it says how weak a "
    "reliance may be, and does not carry over to other networks.",
    "The layer of these networks has six units, in which about one random direction in ten does "
    "what the stripes' does. What is compared with random directions (ACE) is not named there, "
    "however much is lost; such a run's verdict says that it cannot tell.",
)


def compose(result: Result) -> Report:
    """The rates of ours beside those of published rules, the power, and what is not tested."""
    rates = result.tables["rates"]
    return Report(
        title="How often is it wrong where nothing is there?",
        subtitle=f"Self test of {_whose(result.notes['studies'])} on planted networks",
        lead=_lead(rates.rows),
        facts=(
            ("Draws of each study", result.config["draws"]),
            ("Data sets for each weight", result.config["sets"]),
            ("Seed", result.config["seed"]),
        ),
        sections=(_rates(rates), _power(result.tables["power"]), _silent(result.tables)),
        limits=LIMITS,
    )


def _whose(studies: Sequence[str]) -> str:
    every = set(catalogue.names("study")) <= set(studies)
    return "all studies" if every else ", ".join(studies)


def _lead(rows: Any) -> str:
    ours = [row for row in rows if row["kind"] == "ours"]
    over = [row for row in ours if row["rate"] > row["bound"]]
    kept = f"{len(ours) - len(over)} of {len(ours)} tests claim something in no more than"
    text = f"{kept} 5 % of draws (and two standard errors) where nothing is there."
    if over:
        text += " Above it: " + "; ".join(f"{row['study']}, {row['test']}" for row in over) + "."
    others = [row for row in rows if row["kind"] == "published"]
    if others:
        told = "; ".join(f"{row['test']} in {row['rate']:.0%}" for row in others)
        text += f" Published rules on the same draws: {told}."
    return text


def _rates(rates: Table) -> Section:
    chart = charts.forest(
        rates,
        # What it rests on stands in the table below.
        lambda row: f"{row['study']}: {row['test'].partition(' (')[0]}",
        RATE,
        reference=0.05,
        filled=lambda row: row["kind"] == "ours",
        marks=("ours", "published"),
        heading="False claims",
        caption="Share of draws in which anything of a family is claimed although nothing is "
        "there. The dotted line is at 5 %.",
        id="rates",
    )
    return Section("false", "Claims where nothing is there", "", [chart])


def _power(power: Table) -> Section | None:
    if not power.rows:
        return None
    chart = charts.trade_off(
        power,
        "study",
        Column("w", "weight of the context in the network"),
        POWER.alone,
        heading="Power",
        caption="Networks wired by hand mix what the digit shows and what the stripes say, with "
        "weight w on the stripes; at w = 0 naming them is a false claim.",
        id="power",
    )
    return Section("found", "Contexts that are found", "", [chart])


def _silent(tables: Mapping[str, Table]) -> Section | None:
    shown = [TableBlock(tables[name]) for name in ("untested", "without") if tables[name].rows]
    return Section("silent", "What makes no such claim", "", shown) if shown else None

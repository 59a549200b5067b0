"""The sections of an L-CRP report that show pictures."""

from collections.abc import Mapping

from conceptseg.report import charts
from conceptseg.report.blocks import Card, Cards, Picture, Section
from conceptseg.report.charts import Row
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.wording import with_interval
from conceptseg.study.lcrp.charts import hollow, switched
from conceptseg.study.lcrp.tables import (
    CONTEXT,
    OVER_FIELD,
    OVER_SHUFFLED,
    RELEVANCE,
    SENSITIVITY,
    TOP,
    excess,
    name_of,
)

LEGEND = (
    "Brown: speaks for the class. Blue: against. The outline is the class's region; every picture "
    "has a scale of its own, and maps are blurred a little for the eye."
)
FACTS = {
    "Context score, random images": CONTEXT,
    "Context score, most relevant images": TOP,
    "Above shuffled weights": OVER_SHUFFLED,
    "Above the receptive field": OVER_FIELD,
    "Background sensitivity": SENSITIVITY,
}


ByChannel = Mapping[str, Table]
"""The pictures of each channel, by the key of the channel's."""


def scatter(result: Result) -> Section:
    shown: ByChannel = result.tables["shown"].by("of")
    scores = result.tables["scores"].where(
        lambda row: row["context"] is not None and row["relevance"] > 0
    )
    block = charts.scatter(
        scores,
        RELEVANCE,
        CONTEXT,
        "class",
        title,
        picture=lambda row: _relevant(shown, row),
        heading="Relevance and context",
        caption="Point at a channel to see its reference images; the buttons switch between those "
        "in which it is most relevant for the class and those in which it is most active. Filled: "
        "acts from context. " + LEGEND,
        id="relevance-context",
        below=scores.show("class", "unit", RELEVANCE, CONTEXT.alone, "acts"),
    )
    if block is not None:
        hollow(block, scores).update_xaxes(type="log")
        active = [_active(shown, row) for row in scores.rows]
        block = switched(block, active, ("most relevant images", "most active images"))
    return Section("map", "How relevant, and how much of it context", "", [block])


def title(row: Row) -> str:
    return f"{row['class']}: {name_of(row)}"


def cards(result: Result) -> Section:
    rows, shown = result.tables["scores"].rows, result.tables["shown"].by("of")
    order = sorted(rows, key=lambda r: (0, -excess(r)) if r["acts"] else (1, -(r["context"] or 0)))
    return Section(
        "channels",
        "The channels",
        "First the images in which the channel is most relevant for the class, with its "
        "conditional map; then those in which it is most active, with its activation. What acts "
        "from context comes first, strongest first; the rest by context score. " + LEGEND,
        [Cards([_card(shown, row) for row in order], shown=12)],
    )


def _card(shown: ByChannel, row: Row) -> Card:
    facts = [("Share of relevance", f"{row['relevance']:.1%} (rank {row['rank']})")]
    facts += [(name, with_interval(row, column)) for name, column in FACTS.items()]
    if row["seen_on"] is not None:
        facts.append(("Most outside lies on", f"{row['seen_on']} ({row['seen_share']:.0%})"))
    if row["tile"] is not None:
        known = f"{row['tile']:.0%} of what lies outside (area: {row['tile_chance']:.0%})"
        facts.append(("On the known context", known))
    return Card(
        title(row),
        facts,
        _relevant(shown, row),
        ["acts from context"] if row["acts"] else [],
        id=row["card"],
        beside=_active(shown, row),
    )


def _relevant(shown: ByChannel, row: Row) -> list[Picture]:
    name = f"channel {row['unit']} for {row['class']}"
    return _pictures(shown, row["picture"], f"Images in which {name} is most relevant", "relevant")


def _active(shown: ByChannel, row: Row) -> list[Picture]:
    alt = f"Images in which channel {row['unit']} is most active"
    return _pictures(shown, row["active"], alt, "active")


def _pictures(shown: ByChannel, key: str, alt: str, caption: str) -> list[Picture]:
    """The pictures of a channel, in their order, each with the class's region where it has one."""
    return [
        Picture(row["picture"], alt, caption, (row["outline"],) if row["outline"] else ())
        for row in (shown[key].rows if key in shown else ())
    ]

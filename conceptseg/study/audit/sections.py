"""The sections of an audit's report, each from the result alone."""

from collections.abc import Callable, Sequence

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import (
    Block,
    Card,
    Cards,
    Gallery,
    Notice,
    Picture,
    Section,
    TableBlock,
)
from conceptseg.report.charts import Row
from conceptseg.report.panels import key_of
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.audit.config import SHOWN, Verdict
from conceptseg.study.audit.tables import ABLATED, ALONE, CHANNELS, EFFECT, HIDING, LOOKS, RADIUS

MEANINGS: dict[Verdict, str] = {
    "confirmed": "swapping the surroundings changes the class beyond delta, and another line "
    "agrees",
    "behaviour only": "swapping changes it beyond delta, and no other line shows it",
    "attribution only": "relevance lies on the context, and swapping changes it by less than delta",
    "no reliance shown": "swapping changes it by less than delta",
    "underpowered": "neither is shown: more images or donors are needed, or a smaller margin",
}
PICTURED = 12
"""Channels of a class that are pictured."""
COLUMNS = ("class", "context", "verdict", EFFECT, "p_adjusted", "detectable", "n", "needed")


def shown(row: Row) -> bool:
    """Whether a verdict says that the class relies on the context, or on its absence."""
    return row["verdict"] in SHOWN


def verdicts(result: Result) -> Section:
    """The table of verdicts first, then the matrix and the forest."""
    table, delta = result.tables["verdicts"], result.notes["delta"]
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items())
    intro = (
        "Above zero: the class needs the context, for it is predicted worse in surroundings "
        "without it. Below zero: it needs the context's absence. Both kinds of surroundings are "
        f"other images', so that a seam and strange things are in both. {meanings}."
    )
    classes = list(dict.fromkeys(row["class"] for row in table.rows))
    contexts = list(dict.fromkeys(row["context"] for row in table.rows))
    effects = charts.grid(table, ("class", classes), ("context", contexts), EFFECT)
    marked = {
        name: np.array(
            [
                [
                    any(
                        row["verdict"] == name and row["class"] == c and row["context"] == t
                        for row in table.rows
                    )
                    for t in contexts
                ]
                for c in classes
            ]
        )
        for name in MEANINGS
    }
    blocks: list[Block | None] = [
        TableBlock(table.show(*COLUMNS), "Verdicts", id="verdict-table", limit=400),
        TableBlock(table.show("sentence"), "To be quoted as they stand", limit=400, folded=True),
        charts.heatmap(
            effects,
            classes,
            contexts,
            value=EFFECT.name,
            corner="class",
            marked={name: cells for name, cells in marked.items() if cells.any()},
            heading="Class by context",
            caption="Effects of contexts on classes. A dot: the verdict that is chosen below the "
            "chart.",
            id="matrix",
            least=delta,
        )
        if len(contexts) > 1
        else None,
        charts.forest(
            table.first(40),
            "class" if len(contexts) == 1 else lambda row: f"{row['class']} · {row['context']}",
            EFFECT,
            reference=0.0,
            filled=shown,
            marks=("reliance shown", "none shown"),
            least=delta,
            heading="How large, and how sure",
            caption=f"95 % intervals over new images and new donors, the {min(40, len(table.rows))}"
            f" largest. An effect is shown beyond {delta:g} and excluded within it.",
            id="effects",
        ),
    ]
    return Section("verdicts", "Which class leans on which context", intro, blocks)


def pairs(result: Result) -> Section:
    """The placebo beside the treatment."""
    rows = result.tables["examples"].rows
    lines: list[tuple[str, list[Picture | None]]] = []
    for row in rows:
        name = f"{row['class']} · {row['context']}: {row['verdict']}"
        lines.append((name, list(_three(row))))
    heads = ("as it is", "placebo: context there", "treatment: context lacking")
    text = (
        "Of each pair the image whose change is the median, with donors that do as donors of their "
        "kind do on average: what mostly happens, not what happens at best."
    )
    blocks: list[Block] = [Gallery(heads, lines, key=key_of(result))] if lines else []
    return Section("pairs", "The same object in other surroundings", text, blocks)


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of a reliance the image as it is, and its object in surroundings of either kind."""
    at = {(row["class"], row["context"]): row for row in result.tables["examples"].rows}

    def chosen(finding: Finding) -> Sequence[Picture]:
        row = at.get((finding.class_, finding.details.get("context")))
        return [] if row is None else _three(row)

    return chosen


def _three(row: Row) -> list[Picture]:
    """As it is, the placebo, and the treatment, each with the prediction."""
    name, context, donors = row["class"], row["context"], (row["donor_with"], row["donor_without"])
    if any(donors):
        there, lacking = (
            f"its {name} in the surroundings of {donor}, {how} {context}, and the prediction"
            for donor, how in zip(donors, ("with", "without"), strict=True)
        )
    else:  # of a border, the same content elsewhere
        there, lacking = (
            f"rolled so that its {name} lies {how} {context}, and the prediction"
            for how in ("at", "far from")
        )
    before = f"{row['image']} as it is, its labels and its prediction"
    told = (("before", before), ("there", there), ("lacking", lacking))
    return [Picture(row[f"picture_{what}"], alt) for what, alt in told]


def looks(result: Result) -> Section:
    """What the supporting lines say."""
    table, notes = result.tables["looks"], result.notes
    text = (
        "Lines that may support a verdict and refute none: each with all of its interval. Those of "
        f"a class's probability and relevance are made on {notes['look_images']} images of it at "
        "most, in which it is found or which hold the context."
    )
    lines = TableBlock(_lines(result), "The lines")
    others = (HIDING, ABLATED, CHANNELS) if notes["channels"] else (HIDING, ABLATED)
    by_class = table.by("class")
    if not any(row["alone"] is not None for row in table.rows):
        why = "None could be made: see what was left out."
        blocks: list[Block] = [lines, Notice(why)]
        if any(row[one.key] is not None for one in others for row in table.rows):
            blocks.append(TableBlock(table.show("class", "context", *others)))
        return Section("looks", "What a class has to see", text, blocks)
    firsts = [own.rows[0] for own in by_class.values()]
    summary = table.where(lambda row: any(row is one for one in firsts))
    forest = charts.forest(
        summary,
        "class",
        ALONE,
        reference=notes["smallest_loss"],
        heading="Seen alone",
        caption="What the class's probability loses in its region, when nothing else is seen.",
        id="alone",
        below=table.show("class", "context", ALONE, RADIUS, LOOKS, *others),
    )
    return Section("looks", "What a class has to see", text, [lines, forest])


def _lines(result: Result) -> Table:
    """What each line asks, and from when on it supports."""
    notes = result.notes
    beyond = f"beyond {notes['delta']:g}, in the direction of the swap"
    held = "in images that hold the context, less in images that lack it"
    told = [
        (
            "seen alone",
            "what the class's probability loses when all but its region is hidden by flat greys",
            f"from {notes['smallest_loss']:g} on",
        ),
        (
            "context radius",
            "how many pixels around the region have to be seen for its prediction to stay",
            "never: it is described",
        ),
        (
            "relevance",
            f"share of the relevance ({notes['attribution']}) on the context, less that of the "
            "same network with its weights shuffled, in images that hold it",
            f"from {notes['smallest_share']:g} on",
        ),
        (
            "hiding",
            f"what the class's IoU loses or wins, {held}, when all beyond the margin is hidden by "
            "flat greys",
            beyond,
        ),
        (
            "ablation",
            f"of an effect that is shown: what the IoU loses or wins, {held}, when the context's "
            f"direction is taken out of {notes['layer']} (what it holds where the context lies, "
            "less what it holds in images that lack it; of a concept that ACE found, ACE's own)",
            f"{beyond}, and more than by any of {notes['nulls']} random directions of its size",
        ),
    ]
    if notes["channels"]:
        told.append(
            (
                "channels",
                "likewise, when the class's channels that the lcrp run showed to act from context "
                "are set to their mean over images that lack it, on images that the run did not "
                "look at",
                f"{beyond}, and more than by as many other channels of the nearest relevance; "
                "where this and the ablation are tried, by either's 39 random ones",
            )
        )
    names = ("line", "asks", "supports")
    return Table([dict(zip(names, each, strict=True)) for each in told], names)


def found(result: Result) -> Section | None:
    """What the concepts look like that are contexts; None where there are none."""
    table = result.tables["found"]
    cards = [
        Card(
            f"concept {number}",
            pictures=[
                Picture(
                    row["picture"],
                    f"a segment of concept {number} in {row['sample']}",
                    outlines=(row["outline"],),
                )
                for row in own.rows
            ],
        )
        for number, own in table.by("concept").items()
    ]
    if not cards:
        return None
    text = (
        f"Concepts of the ace run {result.notes['found']}, which a class was shown to use from "
        "elsewhere, or which were named. Images that the run looked at had no part in this audit. "
        "A position of the layer shows a concept where its component lies above the middle between "
        "that of the concept's segments and that of others."
    )
    return Section("found", "The contexts that were found", text, [Cards(cards)])


def channels(result: Result) -> Section | None:
    """What the channels show that are set to their mean; None where there are none."""
    table = result.tables["channels"]
    cards = [
        Card(
            name,
            text=f"{len(own.rows)} of its channels act from context; together they hold "
            f"{sum(row['relevance'] for row in own.rows):.0%} of its relevance. The most relevant:",
            pictures=[
                Picture(
                    row["picture"],
                    f"channel {row['channel']} for {name}: {row['context']:.0%} of its maps lie "
                    f"outside, {row['relevance']:.1%} of the relevance",
                    outlines=(row["outline"],) if row["outline"] else (),
                )
                for row in own.rows[:PICTURED]
                if row["picture"]
            ],
        )
        for name, own in table.by("class").items()
    ]
    if not cards:
        return None
    text = (
        f"Channels of {result.notes['layer']} that the lcrp run {result.notes['channels']} showed "
        "to act from context, by its own verdict, and of whose maps more than half lies outside of "
        "the class. Their ablation is tried on images that the run did not look at."
    )
    every = TableBlock(table.show("class", "channel", "relevance", "context"), folded=True)
    return Section("channels", "The channels that read context", text, [Cards(cards), every])

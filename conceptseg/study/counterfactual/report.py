"""The report of a counterfactual study, from its result alone."""

from collections.abc import Mapping
from typing import Any

from conceptseg.report import charts, cover
from conceptseg.report.blocks import Block, Card, Cards, Picture, Report, Section, TableBlock
from conceptseg.report.told import Illustrate
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.counterfactual.conclude import SHARE
from conceptseg.study.shared import local_maps

MARKS = ("more often than edits elsewhere", "not shown")
ELSEWHERE = charts.Column("elsewhere", "by edits elsewhere")


def compose(result: Result) -> Report:
    """What suffices to turn a class into another, by region and attribute; the edits."""
    notes = result.notes
    return cover.report(
        result,
        title="What has to look otherwise for another class?",
        method="Counterfactuals of",
        lead=f"{notes['cases']} regions were edited by the generator {notes['generator']}, until "
        "the network called them another class: each part of the image alone, by the smallest "
        "edit that was found.",
        facts=(("Generator", notes["generator"]), ("Regions edited", notes["cases"])),
        sections=(
            regions(result),
            attributes(result),
            edits(result),
            local_maps.section(result, "Maps of the same images."),
            numbers(result),
        ),
        limits=(
            "An edit that was not found may exist: the search follows slopes, and stays within "
            "how such regions look in the data.",
            "Shapes are kept by layers: a class told by its outline is not turned into another.",
            "A prediction that can be changed by an edit need not change in the world: edited "
            "images are none that a camera took.",
            "Edits elsewhere cover as much of the image, or three quarters of it where there is no "
            "more room, and lie about as far from the class; of a generator without masks they are "
            "edits of the image's other parts.",
        ),
        illustrate=illustrate(result),
    )


def regions(result: Result) -> Section:
    forest = charts.forest(
        result.tables["regions"],
        lambda row: f"{row['region']} ({row['class']} → {row['to']})",
        SHARE,
        filled=_more,
        marks=MARKS,
        chance=ELSEWHERE,
        chance_name="by edits elsewhere",
        heading="Editing one region alone",
        caption="Share of the images in which an edit of the region flips the class and holds in 8 "
        "bits and under noise; beside it that of random edits of the same parameters and size.",
        id="regions-forest",
    )
    return Section("regions", "Which part of the image suffices?", "", [forest])


def attributes(result: Result) -> Section:
    forest = charts.forest(
        result.tables["attributes"],
        lambda row: f"{row['region']}: {row['attribute']} ({row['class']} → {row['to']})",
        SHARE,
        filled=_more,
        marks=MARKS,
        chance=ELSEWHERE,
        chance_name="by edits elsewhere",
        heading="Editing one attribute alone",
        caption="The same by single attributes, corrected over these.",
        id="attributes-forest",
    )
    return Section("attributes", "Which attribute of it?", "", [forest])


def _more(row: Mapping[str, Any]) -> bool:
    p = row["p_corrected"]
    return p is not None and p <= ALPHA


def edits(result: Result) -> Section:
    tried = "one group, or of two," if result.notes.get("together", 2) > 1 else "one group"
    cards = [
        Card(
            f"{row['class']} → {row['to']} in {row['sample']}",
            facts=_facts(row),
            pictures=_pictures(row),
            text=row["edit"] or f"No edit of {tried} was found that flips it.",
            id=f"edit-{number}",
        )
        for number, row in enumerate(result.tables["cases"].rows)
        if row["pictures"]
    ]
    text = (
        "The image with the class's region, the edited image with what it is called now, and "
        "what was changed: red is brighter, blue darker."
    )
    blocks: list[Block] = [Cards(cards)] if cards else []
    return Section("edits", "The smallest edits", text, blocks)


def _facts(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if not row["edit"]:
        return []
    facts: list[tuple[str, Any]] = [("groups edited", row["groups"])]
    facts.append(("holds in 8 bits and noise", "yes" if row["holds"] else "no"))
    if row["plausible"] is not None:
        facts.append(("real regions that are as unlike", f"{row['plausible']:.0%}"))
    if row["elsewhere"] is not None:
        facts.append(("other pixels that change", f"{row['elsewhere']:.1%}"))
    return facts


def _pictures(row: Mapping[str, Any]) -> list[Picture]:
    told = (
        f"{row['sample']}, {row['class']} outlined",
        f"edited, {row['to']} outlined",
        "what was changed",
    )
    return [Picture(key, text, text) for key, text in zip(row["pictures"], told, strict=False)]


def numbers(result: Result) -> Section:
    tables = [
        TableBlock(result.tables[key], result.tables[key].caption)
        for key in ("regions", "attributes", "cases")
    ]
    return Section("numbers", "All numbers", "", tables)


def illustrate(result: Result) -> Illustrate:
    """Of a pair and a region the first images that flip by it alone, each before and after."""

    def chosen(finding: Finding, card: object) -> list[Picture]:
        asked = (finding.class_, *(finding.details.get(key) for key in ("to", "region")))
        return [
            picture
            for row in result.tables["cases"].rows
            if asked == (row["class"], row["to"], row.get("region"))
            for picture in _pictures(row)[:2]
        ][:6]

    return chosen

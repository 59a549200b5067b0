"""The report of a permutation study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.permutation import sections
from conceptseg.study.permutation.assess import OVERALL
from conceptseg.study.permutation.features import EVERYTHING

ALPHA = 0.05


def compose(result: Result) -> Report:
    """Which parts are needed, by which class, alone and given the others, with examples."""
    notes = result.notes
    return Report(
        title="What the input cannot do without",
        subtitle=f"Permutation importance on {notes['model']}, data {notes['manifest']}",
        lead=_lead(result),
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Images", f"{notes['images']} of {notes['images_given']} given"),
            ("Exchanges", f"{notes['variants']} kinds, {notes['raced']} of them more often"),
        ),
        sections=(
            sections.ranking(result),
            sections.schemes(result),
            sections.examples(result),
            sections.saliency(result),
            sections.numbers(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _lead(result: Result) -> str:
    rows = [
        row
        for row in result.tables["importance"].rows
        if row["scheme"] == "swap" and row["class"] == OVERALL and row["part"] != EVERYTHING
    ]
    if not rows:
        return "No part was exchanged for another image's: see the other schemes below."
    needed = sorted((r for r in rows if r["p_adjusted"] <= ALPHA), key=lambda r: -r["value"])
    told = (
        f"{len(rows)} parts of {result.notes['images']} images were replaced by those of other "
        f"images. {len(needed)} of them were shown to cost more than "
        f"{result.notes['smallest_effect']:.3f} IoU, averaged over the classes"
    )
    if needed:
        most = ", ".join(f"{row['part']} ({row['value']:.2f})" for row in needed[:3])
        told += f"; the most, {most}"
    if few := sum(row["p_least"] > ALPHA for row in rows):
        told += f". Of {few} nothing could be shown, whatever they cost: too few groups"
    free = [row["part"] for row in rows if row["low"] == row["high"] == 0]
    if free:
        told += f". No exchange of {', '.join(free)} changed the overlap of any of these classes"
    return told + "."


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "That a part can be exchanged without loss does not mean that it may be left out: the "
        "network was trained with it, and a network trained without it is another one.",
        "Exchanged parts give images that the network was never shown. Some of each loss is this "
        "shock, more so for luminance and phase; the conditional scheme has less of it.",
        "The conditional scheme knows linear relations between channels at a pixel, and no others.",
        "Groups of units are those that respond alike; their numbers mean nothing.",
        "Tests flip the signs of groups, for all parts and classes of a scheme together: they hold "
        "where groups above the mean effect lie as far from it as those below. Where exchanges "
        "repair some images much and harm most a little, they find too often.",
        f"Parts that {notes['repeats']} exchanges left undecided were exchanged up to "
        f"{notes['most_repeats']} times; the decision to go on is not in the intervals.",
    ]
    if not notes["donors_of_other_groups"]:
        limits.append(
            "One group holds more than half of the images, so donors are often of the image's own "
            "group: where its images are alike, importance comes out too small."
        )
    if notes["unit"] == "image" and notes["manifest_groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['manifest_groups']} groups, too few to test over. "
            "Intervals and tests count images, so they speak of these groups and not of new ones."
        )
    blind = [
        row
        for row in result.tables["importance"].rows
        if row["scheme"] == "swap" and row["p_least"] > ALPHA
    ]
    if blind:
        names = ", ".join(dict.fromkeys(row["class"] for row in blind))
        limits.append(
            f"In too few groups to show anything at any loss: {names}. Silence there means nothing."
        )
    return tuple(limits)

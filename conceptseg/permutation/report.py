"""The report of a permutation study, from its result alone."""

from __future__ import annotations

from conceptseg.permutation import sections
from conceptseg.permutation.assess import OVERALL
from conceptseg.permutation.features import EVERYTHING
from conceptseg.report import Report
from conceptseg.result import Result

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
    needed = sorted((r for r in rows if r["p_holm"] <= ALPHA), key=lambda r: -r["value"])
    told = (
        f"{len(rows)} parts of {result.notes['images']} images were replaced by those of other "
        f"images. {len(needed)} of them cost more than {result.notes['smallest_effect']:.3f} IoU, "
        "averaged over the classes"
    )
    if needed:
        most = ", ".join(f"{row['part']} ({row['value']:.2f})" for row in needed[:3])
        told += f"; the most, {most}"
    free = [row["part"] for row in rows if row["low"] == row["high"] == 0]
    return told + (f". No exchange of {', '.join(free)} changed anything at all." if free else ".")


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "That a part can be exchanged without loss does not mean that it may be left out: the "
        "network was trained with it, and a network trained without it is another one.",
        "Exchanged parts give images that the network was never shown. Some of each loss is this "
        "shock, more so for luminance and phase; the conditional scheme has less of it.",
        "The conditional scheme knows linear relations between channels at a pixel, and no others.",
        "Groups of units are those that respond alike; their numbers mean nothing.",
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
    return tuple(limits)

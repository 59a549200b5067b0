"""The report of a permutation study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report, Section, TableBlock
from conceptseg.report.panels import key_of
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.permutation import sections
from conceptseg.study.permutation.config import EVERYTHING, OVERALL
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """Which parts are needed, by which class, alone and given the others, with examples."""
    notes, tables = result.notes, result.tables
    numbers = [
        TableBlock(tables["clean"], "The classes"),
        TableBlock(tables["importance"], "Every exchange", limit=1000, folded=True),
    ]
    return cover.report(
        result,
        title="What the network needs of its images",
        method="Permutation importance on",
        lead=_lead(result),
        facts=(("Exchanges", f"{notes['variants']} kinds, {notes['raced']} of them more often"),),
        sections=(
            sections.ranking(result),
            sections.schemes(result),
            sections.examples(result),
            local_maps.section(
                result,
                "Exchanges show which part of the input counts; such maps show where in a single "
                "image.",
            ),
            Section("numbers", "All numbers", "", numbers),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
        key=key_of(result),
    )


def _lead(result: Result) -> str:
    table = sections.swaps(result).where(
        lambda row: row["class"] == OVERALL and row["part"] != EVERYTHING
    )
    if not table.rows:
        return "No part was exchanged for another image's: see the other schemes below."
    needed = table.where(sections.needed).sorted(lambda row: -row["value"]).rows
    text = (
        f"{len(table.rows)} parts of {result.notes['images']} images were replaced by those of "
        f"other images. {len(needed)} of them were shown to cost more than "
        f"{result.notes['smallest_effect']:.3f} IoU, averaged over the classes"
    )
    if needed:
        text += "; the most, " + ", ".join(f"{r['part']} ({r['value']:.2f})" for r in needed[:3])
    if few := len(table.where(_untestable).rows):
        text += f". {few} could not be tested, whatever they cost: too few groups"
    if free := [row["part"] for row in table.rows if row["low"] == row["high"] == 0]:
        text += f". No exchange of {', '.join(free)} changed the overlap of any of these classes"
    return text + "."


def _limits(result: Result) -> list[str]:
    notes = result.notes
    limits = [
        "That a part can be exchanged without loss does not mean that it may be left out: the "
        "network was trained with it, and a network trained without it is another one.",
        "Exchanged parts give images unlike any that the network was trained on. Part of each loss "
        "is due to such unnatural images, more so for luminance and phase; less in the conditional "
        "scheme.",
        "The conditional scheme knows linear relations between channels at a pixel, and no others.",
        "Groups of units are those that respond alike; their numbers mean nothing.",
        "Tests flip the signs of groups, for all parts and classes of a scheme together: they hold "
        "where groups above the mean effect lie as far from it as those below. If exchanges "
        "improve a few images a lot and harm most a little, the tests give false positives too "
        "often.",
        f"Parts that {notes['repeats']} exchanges left undecided were exchanged up to "
        f"{notes['most_repeats']} times; the decision to go on is not in the intervals.",
        "Intervals allow for a rare image, none of which was seen, that loses all its IoU: they "
        "hold the truth in 95 % of data sets or more (of 8, 20 and 60 simulated images in 96 to "
        "100 %, where no exchange is better or worse for all images at once; else, of 60, in "
        "88 %), and those of few images are wide.",
    ]
    if not notes["donors_of_other_groups"]:
        limits.append(
            "One group holds more than half of the images, so donors are often of the image's own "
            "group: where its images are alike, importance comes out too small."
        )
    if blind := sections.swaps(result).where(_untestable).rows:
        names = ", ".join(dict.fromkeys(row["class"] for row in blind))
        limits.append(
            f"Not testable at any loss, because too few groups hold them: {names}. That nothing "
            "was shown of these is no evidence of anything."
        )
    return limits


def _untestable(row: sections.Row) -> bool:
    return bool(row["p_least"] > ALPHA)

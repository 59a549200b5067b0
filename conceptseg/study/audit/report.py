"""The report of an audit, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report, Section, TableBlock
from conceptseg.report.panels import key_of
from conceptseg.result.saved import Result
from conceptseg.study.audit import sections
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """The verdicts, the pictures that prove them, both lines of evidence, and all numbers."""
    tables, notes = result.tables, result.notes
    numbers = [
        TableBlock(tables[key], limit=1000, folded=True)
        for key in ("parts", "looks", "doses", "padding", "composites")
        if tables[key].rows
    ]
    return cover.report(
        result,
        title="Does the network lean on context that it should not?",
        method="Context audit of",
        lead=_lead(result),
        facts=(
            ("Margin that stays", _margin(result)),
            ("An effect counts from", f"{notes['delta']:g} IoU"),
        ),
        sections=(
            sections.verdicts(result),
            sections.found(result),
            sections.pairs(result),
            sections.looks(result),
            sections.channels(result),
            local_maps.section(
                result,
                "Such maps show where a method puts its weight in a single image. They neither "
                "prove nor refute that the class needs what lies there.",
            ),
            Section("numbers", "All numbers", "", numbers),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
        key=key_of(result),
    )


def _lead(result: Result) -> str:
    rows = result.tables["verdicts"].rows
    counts = {name: sum(row["verdict"] == name for row in rows) for name in sections.MEANINGS}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    pairs = f"{len(rows)} pair{'' if len(rows) == 1 else 's'} of class and context"
    text = f"{pairs} were put to the test: {told}."
    reliant = [row for row in rows if sections.shown(row)]
    if reliant:
        names = ", ".join(
            f"{row['class']} on {'' if row['effect'] > 0 else 'the absence of '}{row['context']}"
            for row in reliant[:3]
        )
        text += (
            f" The network relies: {names}{' and more' if len(reliant) > 3 else ''}. To undo that "
            "it has to be trained on images in which the class comes with and without the context "
            "alike; the pairs below show what such images do to it today."
        )
    return text


def _margin(result: Result) -> str:
    """The margin, and how many pairs have none because the context fills it."""
    without = sum(row["margin"] == 0 for row in result.tables["parts"].rows)
    told = f"{result.notes['margin']:g} px"
    if not (without and result.notes["margin"]):
        return told
    return f"{told}; none for {without} pairs whose context fills it"


def _limits(result: Result) -> list[str]:
    notes = result.notes
    limits = [
        "What was swapped is the surroundings beyond the margin. A context that lies within it, or "
        "on the object itself, is in both arms, and its effect is not in the numbers. Where it "
        "fills half of the margin, there is none, if it was not given; and where images that hold "
        "it are predicted otherwise from the start, nothing is called absent. Without a margin the "
        "seam lies at the object, and takes part of each effect.",
        f"An image lacks a context where that takes at most {notes['most_lacking']:.1%} of it.",
        "Donors that hold a context differ from those that lack it in whatever else goes with it "
        "in this data set: the effect is that of the context and its company.",
        "Effects are means over images. Where none of so many images reacts, a few percent of "
        "others still may: each sentence says how many.",
        "Tests ask for both: that images agree, and that donors do, by flipping the signs of "
        "images' effects and by giving out the donors' kinds at random; all pairs are corrected "
        "together (Holm).",
        "A class that is seen alone stands in flat grey, which no camera takes: what it loses then "
        "is in part due to that; and images that hold a context, of which hiding takes more or "
        "less than of those that lack it, differ from these in whatever else goes with it. Such "
        "lines support a verdict and refute none.",
        "No verdict says that the network is safe, or fit for a purpose.",
    ]
    if notes["channels"]:
        limits.append(
            "Channels are those that the lcrp run looked at and showed to act from context: where "
            "many carry a context alike, taking out some of them changes nothing, and that refutes "
            "nothing. Where they hold more of the class's relevance than any others do, random "
            "sets are of less relevance, and lose less for that alone."
        )
    if notes["place"]:
        limits.append(
            "Of a border: the image is rolled, and what leaves it at one side comes back at the "
            "other. Near the border and far from it the class has the same pixels around it, and "
            "the same seam somewhere else; but surroundings that continue beyond it, as a sky "
            "does, are cut off there and in no photograph."
        )
    if notes["unlocated"]:
        limits.append(
            f"Where these show in an image is not known: {', '.join(notes['unlocated'])}. Donors "
            "may hold them under the region or the margin, so that their effects come out too "
            "small."
        )
    return limits

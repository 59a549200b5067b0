"""The report of an L-CRP study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.lcrp import conserved, exhibits, named_report, sections
from conceptseg.study.lcrp.tables import UNKNOWN
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """What acts from context, what each class rests on, and how far to believe it."""
    notes, rows = result.notes, result.tables["scores"].rows
    classes = len({row["class"] for row in rows})
    acting = sum(row["acts"] for row in rows)
    unknown = sum(row["verdict"] == UNKNOWN for row in rows)
    lead = (
        f"Relevance of {counted(classes, 'class')} was followed through the {notes['units']} "
        f"channels of layer {notes['layer']} of {notes['model']}, over {notes['images']} images. "
        f"{len(rows)} pairs of class and channel were looked at. Acting from context: {acting}, "
        "whose evidence lies outside of the class's own region more than that of any channel of a "
        f"network of shuffled weights. Inconclusive: {unknown}."
    )
    return cover.report(
        result,
        title="What predictions rest on, and how much of it is context",
        method="L-CRP on",
        lead=lead,
        facts=(("Rules", conserved.rules_of(result)), ("Pairs of class and channel", len(rows))),
        sections=(
            sections.acting(result),
            named_report.section(result),
            exhibits.scatter(result),
            sections.bars(result),
            exhibits.cards(result),
            sections.sensitivity(result),
            sections.flipping(result),
            conserved.retained(result),
            sections.everything(result),
            local_maps.section(
                result,
                "Where the network looks in single images when the class is predicted, all "
                "channels together.",
            ),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result),
    )


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    present = (
        "Relevance shows what was present and spoke for a class. A class that is chosen because "
        "something is absent leaves no trace in its own maps; look at the classes it competes "
        "with. Evidence that works by suppressing a competing class leaves no trace either; "
        "composite: rescale shows it."
    )
    changed = (
        "Relevance is what an image changes against its reference "
        f"({notes['reference']}): what looks like the reference, or is missing from both, counts "
        "for nothing, and another reference may show more or less; confirm findings with another "
        "one (reference). Maps are not those of the published score."
    )
    limits = [
        changed if notes["reference"] else present,
        "Attribution alone neither proves nor excludes that a network needs its context. A context "
        "score of a third is common in networks that do not use it; compare with shuffled weights, "
        "and with what replacing the background does.",
        "A channel that mixes object and context need not lie above shuffled weights, which spread "
        "relevance widely. Maps support the use of context and never refute it: a class that rests "
        "on its context fully may have no channel with any of it on its map.",
        "Whether the largest channel of a shuffled network reaches as far is judged from "
        f"{len(notes['shuffled_largest'])} such networks, as if these largest were normal; confirm "
        "a corrected p-value near 0.05 with more (shuffled_networks).",
        "The most relevant images are selected, so scores over them are biased; they are given "
        "because they are the published form. The tests rest on random images.",
        f"Only layer {notes['layer']} was studied; the table of classes says how much relevance "
        "passes through it.",
        "Replaced backgrounds are images that the network has never seen; a change may come from "
        "that.",
    ]
    if notes["composite"] == "attention":
        limits.append(
            "Rules for transformers are experimental; the section on what rules retain says how "
            "much relevance they lose or make."
        )
    return tuple(limits)

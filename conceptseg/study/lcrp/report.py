"""The report of an L-CRP study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.lcrp import exhibits, sections
from conceptseg.study.lcrp.assess import ALPHA


def compose(result: Result) -> Report:
    """What acts from context, what each class rests on, and how far to believe it."""
    notes = result.notes
    rows = [dict(row) for row in result.tables["scores"].rows]
    classes = len({row["class"] for row in rows})
    unknown = sum(row["verdict"] == "cannot be told" for row in rows)
    lead = (
        f"Relevance of {classes} classes was followed through the {notes['units']} channels of "
        f"layer {notes['layer']} of {notes['model']}, over {notes['images']} images. Of "
        f"{len(rows)} pairs of class and channel that were looked at, {len(result.findings)} act "
        "from context: their evidence lies outside of the class's own region more than any channel "
        f"of a network of shuffled weights would place it there. Of {unknown} it cannot be told."
    )
    return Report(
        title="What predictions rest on, and how much of it is context",
        subtitle=f"L-CRP on {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Images", notes["images"]),
            ("Rules", sections.rules_of(result)),
            ("Pairs of class and channel", len(rows)),
        ),
        sections=(
            sections.acting(result, rows),
            exhibits.scatter(result, rows),
            sections.bars(result, rows),
            exhibits.cards(result, rows),
            sections.sensitivity(result, rows),
            sections.flipping(result),
            sections.retained(result),
            sections.everything(result),
            exhibits.saliency(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    present = (
        "Relevance shows what was present and spoke for a class. A class that is chosen because "
        "something is absent leaves no trace in its own maps; look at the classes it competes "
        "with. What is there and speaks by silencing a rival's units leaves none either; "
        "composite: rescale shows that."
    )
    changed = (
        "Relevance is what an image changes against its reference "
        f"({notes['reference']}): what looks like the reference, or is missing from both, counts "
        "for nothing, and another reference may show more or less; confirm what is found with "
        "one (reference). Maps are not those of the published score."
    )
    limits = [
        changed if notes["reference"] else present,
        "Attribution alone neither proves nor excludes that a network needs its context. A context "
        "score of a third is common in networks that do not use it; compare with shuffled weights, "
        "and with what replacing the background does.",
        "A channel that mixes object and context need not lie above shuffled weights, which spread "
        "relevance widely: 'does not act' is said of the baselines, and does not exclude that some "
        "context is used.",
        "Whether the largest channel of a shuffled network reaches as far is judged from "
        f"{len(notes['shuffled_largest'])} such networks, as if these largest were normal; a "
        "corrected p-value near 0.05 is to be confirmed with more (shuffled_networks).",
        "The most relevant images are selected, so scores over them are biased; they stand here "
        "because they are the published form. Random images carry the tests.",
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
    if notes["unit"] == "image" and notes["manifest_groups"] < notes["images"]:
        limits.append(
            f"The images come from {notes['manifest_groups']} groups, but intervals and tests "
            "count images: they speak of these groups and not of new ones."
        )
    return tuple(limits)

"""The report of a prototypes study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.prototypes import sections
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """Prototypes with what sets them apart, which stand for errors, and regions unlike them."""
    notes = result.notes
    return cover.report(
        result,
        title="In which ways each class is decided",
        method="Prototypes of",
        lead=_lead(result),
        facts=(
            ("Regions", f"{notes['regions']}, predicted"),
            ("Concepts", f"{notes['concepts']} of {notes['layer']}"),
        ),
        sections=(
            sections.prototypes(result),
            sections.standing(result),
            sections.outliers(result),
            sections.chance(result),
            local_maps.section(
                result, "Such maps show where in one image; prototypes show in which ways."
            ),
            sections.numbers(result),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    text = (
        f"{notes['regions']} predicted regions of {counted(len(notes['classes']), 'class')}, in "
        f"{notes['images']} images, were grouped by the concepts that their relevance lies on "
        f"({notes['concepts']}), and {notes['judged']} new ones set against them."
    )
    if notes["told"]:
        text += f" Of {notes['told']} with labels {notes['wrong']} are wrong."
    else:
        text += " None has labels, so nothing is said of right and wrong."
    return text


def _limits(result: Result) -> list[str]:
    notes = result.notes
    said = [
        "A region is a connected component of what is predicted: two that touch are one, and what "
        "is missed altogether is none.",
        f"A region is wrong if fewer than {notes['right']:.0%} of its labelled pixels are right; "
        "how well its border is met does not count.",
        f"Relevance is shared out by rules ({notes['composite']}); evidence that works by "
        "suppressing another class leaves no trace in it, but under composite: rescale.",
        "That regions are decided alike is said of relevance at one layer; a mixture describes "
        "these regions, and is no proof that the network compares with its means.",
        "A p-value speaks of regions like those that calibrated"
        + (", which are right ones" if notes["of_right"] else "")
        + f". New ones of other {notes['dealt_of']}s are judged by it as long as they come from "
        "the same source.",
        "The correction controls the share of false outliers where p-values of one run go up and "
        "down together, as those of one calibration do; of regions of one image that is taken for "
        "granted.",
    ]
    if notes["dealt_of"] == "image" and notes["manifest_groups"] < notes["images"]:
        said.append(
            "Images were dealt to fitting, calibrating and judging one by one, for there are few "
            "groups: of a new group's regions p-values say nothing."
        )
    return said

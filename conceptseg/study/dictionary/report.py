"""The report of a dictionary study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.report.panels import key_of
from conceptseg.result.saved import Result
from conceptseg.study.dictionary import sections
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """The atoms with what they show and cost, what repairs failures, and how much is recovered."""
    notes = result.notes
    return cover.report(
        result,
        title="What the layer is made of",
        method="A dictionary of",
        lead=f"{notes['atoms']} atoms rebuild the layer; in its place they leave the prediction at "
        f"IoU {notes['recovered_iou']:.3f} with the network's own. Each was erased, and set to its "
        "mean where a class fails.",
        facts=(("Atoms", f"{notes['atoms']}, by {notes['finder']}"),),
        sections=(
            sections.repairs(result),
            sections.atoms(result),
            sections.worth(result),
            sections.recovered(result),
            local_maps.section(result, "Such maps show where in one image; atoms show what of."),
            sections.numbers(result),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
        key=key_of(result),
    )


def _limits(result: Result) -> list[str]:
    notes = result.notes
    return [
        "Other atoms would rebuild the layer as well: a dictionary is one way to write it. See how "
        "stable each atom is over seeds.",
        "An atom is erased with what no atom explains left in place, and all others as they are; "
        "two atoms that stand in for each other are both missed.",
        "Random directions have the codes of the larger atoms, and vary as the layer does. Of "
        "small atoms that is a hard comparison.",
        f"Sobol indices are of {notes['sobol_images']} images and of the first atoms alone; their "
        "intervals are over images, each of few draws, whose error is in them.",
        "A name says what an atom overlaps with, by labels (predictions where there are none) and "
        "known contexts, on images that did not choose it; it enters no test.",
        "That a repair works shows which atom failures hang on. It needs to be known that the "
        "image fails, and of which class, and mends no network by itself.",
    ]

"""The report of a diff study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.report.panels import key_of
from conceptseg.result.saved import Result
from conceptseg.study.diff import sections
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """What either network predicts, what classes owe to concepts, and how alike the layers are."""
    notes = result.notes
    return cover.report(
        result,
        title="What another checkpoint does otherwise",
        method="Diff of",
        lead=f"{notes['concepts']} concepts are shared by both networks; each was erased from "
        f"either. Of the layer's units {notes['matched']:.0%} have a partner with a correlation "
        f"above 0.8; CKA of the layers is {notes['cka']:.3f}.",
        facts=(("Other network", notes["other"]), ("Other seeds", notes["seeds"])),
        sections=(
            sections.classes(result),
            sections.concepts(result),
            sections.layers(result),
            local_maps.section(result, "Such maps are of the first network alone."),
            sections.numbers(result),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
        key=key_of(result),
    )


def _limits(result: Result) -> list[str]:
    notes = result.notes
    limits = [
        "Concepts are of these layers and images: what changed elsewhere in the networks is seen "
        "only in what they predict.",
        "A concept is one code with an atom in either network; one that only one of them has is "
        "erased from that one alone, and costs the other nothing.",
        "That a class owes less to a concept may be because it owes more to another, or because "
        "it is no longer predicted.",
    ]
    if not notes["seeds"]:
        limits.append(
            "No networks of other seeds were given: two trainings of one network on the same data "
            "may differ as much as these do."
        )
    if not notes["recovers"]:
        limits.append(
            f"The concepts recover IoU {notes['recovered_iou']:.3f} of a prediction, below "
            f"{notes['recovered']:g}: what they miss is compared by classes alone."
        )
    return limits

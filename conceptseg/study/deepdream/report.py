"""The report of a deepdream study, from its result alone."""

from collections import Counter

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.deepdream import sections
from conceptseg.study.deepdream.assess import SHORT
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """What must change for a region to flip, against chance and against the data."""
    notes = result.notes
    return cover.report(
        result,
        title="What must change for a segmentation network to change its mind",
        method="DeepDream paths on",
        lead=_lead(result),
        facts=(
            ("Starts", notes["starts"]),
            (
                "Step",
                f"at most {notes['step']:g} of the data range (RMS), {notes['steps']} at most",
            ),
            ("Flipped at", f"{notes['flip']:.0%} of the region"),
        ),
        sections=(
            sections.paths(result),
            sections.cues(result),
            sections.curves(result),
            sections.strips(result),
            local_maps.section(
                result,
                "Where the network looks when it predicts the class. Such maps show places, not "
                "what is there.",
            ),
            sections.numbers(result),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    words = Counter(row["conclusion"] for row in result.tables["cues"].rows)
    against = words["against the data"] + words["absent in the data"]
    return (
        f"From {notes['starts']} starts, images were changed step by step towards where "
        f"{notes['model']} calls a fixed region another class. {notes['flip_pixel']} regions "
        f"flipped by changes in pixels and {notes['flip_phase']} by changes in phases; only those "
        f"that flipped in pixels count. {words.total()} pairs of a descriptor and a kind of path "
        f"were examined. {words['as in the data']} change more than by chance and in the direction "
        f"in which the classes differ in the data; {against} change although the data do not "
        "differ so, which is what adversarial changes look like; "
        f"{words['ignored']} are shown to stay although the classes differ greatly in them; "
        f"{words[SHORT]} are inconclusive, because the path is too short to change them; and "
        f"{words['not testable']} could not be tested, because too few starts flipped, or starts "
        "of too few groups. For the rest neither change nor its absence was shown."
    )


def _limits(result: Result) -> tuple[str, ...]:
    borrowed = result.notes["borrowed"]
    limits = (
        "A path is a shortest way for the network, not a picture of the class. A descriptor that "
        "is ignored is not needed for the flip; the network may use it all the same.",
        "A finding is beyond both null paths in pixels, and the phase path goes the same way. The "
        "phase path can use only waves that the image has: from flat regions it often fails to "
        "flip anything, as the table of paths shows. The null path of the shuffled network takes "
        "as many steps as the real path; because that network has learnt nothing, it seldom flips. "
        "A change of the same length in random smooth noise moves many descriptors of texture "
        "further than a path does: such descriptors are no findings.",
        "Descriptors are few and coarse. What the network looks at may have no name among them.",
        "How classes differ in the data is measured on the regions that the network predicts, and "
        "whole regions are compared: shape and surroundings differ as well as texture.",
        "Very short paths are adversarial: they change the prediction before anything that can be "
        "seen changes. The table of paths gives the length and the similarity to the start.",
        "Each finding has to meet several conditions, so weak effects are missed; absence of "
        "evidence is not evidence of absence.",
    )
    if not borrowed:
        return limits
    return (
        *limits,
        f"{borrowed} starts have no missed region of the class. Their region was borrowed from "
        "another image, where the class may make no sense.",
    )

"""The report of a deepdream study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.deepdream import sections
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.deepdream.assess import SHORT


def compose(result: Result) -> Report:
    """What must change for a region to flip, against chance and against the data."""
    notes = result.notes
    words = [row["conclusion"] for row in result.tables["cues"].rows]
    against = words.count("against the data") + words.count("absent in the data")
    lead = (
        f"From {notes['starts']} starts, images were changed step by step towards where "
        f"{notes['model']} calls a fixed region another class; {notes['flip_pixel']} regions "
        f"flipped by changes in pixels and {notes['flip_phase']} in phases, and only those that "
        f"flipped in pixels count. Of {len(words)} pairs of a descriptor and a kind of "
        f"path, {words.count('as in the data')} change on these paths more than by chance and in "
        f"the direction in which the classes differ in the data; {against} change although the "
        f"data do not differ so, which is what adversarial changes look like; "
        f"{words.count('ignored')} are shown to stay although the classes differ greatly in them; "
        f"of {words.count(SHORT)} nothing can be told, since so short a path could not move them, "
        f"and {words.count('not testable')} flipped from too few starts to be tested. Of the rest "
        "neither change nor its absence was shown."
    )
    return Report(
        title="What must change for a segmentation network to change its mind",
        subtitle=f"DeepDream paths on {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Data", notes["manifest"]),
            ("Starts", notes["starts"]),
            ("Step", f"{notes['step']:g} of the data range (RMS), {notes['steps']} at most"),
            ("Flipped at", f"{notes['flip']:.0%} of the region"),
            ("Unit of analysis", notes["unit"]),
        ),
        sections=(
            sections.paths(result),
            sections.cues(result),
            sections.curves(result),
            sections.strips(result),
            sections.saliency(result),
            sections.numbers(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A path is a shortest way for the network, not a picture of the class. A descriptor that "
        "is ignored is not needed for the flip; the network may use it all the same.",
        "A finding is beyond both null paths in pixels, and the phase path goes the same way. The "
        "phase path can use only waves that the image has: from flat regions it often fails to "
        "flip anything, as the table of paths shows. The null of the "
        "shuffled network takes as many steps as the real path; being blind, it seldom flips. "
        "A change of the same length in random smooth noise moves many descriptors of texture "
        "further than a path does: such descriptors are no findings.",
        "Descriptors are few and coarse. What the network looks at may have no name among them.",
        "How classes differ in the data is told from the network's own predictions, and compares "
        "whole regions: shape and surroundings differ as well as texture.",
        "Very short paths are adversarial: they change the prediction before anything that can be "
        "seen changes. The table of paths gives the length and the similarity to the start.",
        "Several conditions are asked of each finding, so weak effects are missed; no finding is "
        "no proof of absence.",
    ]
    if notes["borrowed"]:
        limits.append(
            f"{notes['borrowed']} starts have no missed region of the class; theirs was borrowed "
            "from another image, where the class may make no sense."
        )
    return tuple(limits)

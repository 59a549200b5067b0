"""The report of a dissection, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.dissect import exhibits, sections
from conceptseg.study.dissect.detect import ALPHA


def compose(result: Result) -> Report:
    """What units detect, which classes use it, the units themselves, and how much is chance."""
    notes = result.notes
    concepts = result.tables["concepts"].rows
    used = [row for row in concepts if row["used_by"] not in (None, "none")]
    lead = (
        f"The {notes['units']} units of layer {notes['layer']} of {notes['model']} were compared "
        f"with {len(concepts)} concepts in {notes['images']} images. {notes['detectors']} units "
        f"detect one of {notes['unique']} concepts: their masks agree beyond what label maps of "
        "other images give, on images that did not choose the concept. "
    )
    lead += (
        f"Of these concepts {len(used)} are used: a class loses at least "
        f"{notes['smallest_effect']:.2f} IoU without the units, and more than without random ones."
        if used
        else "No class was shown to use any of them; the table of losses says how small a loss "
        "would have been seen."
    )
    return Report(
        title="What the units of a segmentation network detect",
        subtitle=f"Network dissection of {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Images", notes["images"]),
            ("Units", f"{notes['units']}, {notes['units'] - notes['live']} of them dead"),
            ("Detectors", notes["detectors"]),
        ),
        sections=(
            sections.detectors(result),
            sections.causal(result),
            exhibits.cards(result),
            sections.grid(result),
            sections.chance(result),
            sections.published(result),
            exhibits.saliency(result),
            sections.numbers(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A unit's concept is the one it overlaps most among those that were asked for. What the "
        "unit means to the network may have no name here; two concepts that lie together cannot "
        "be told apart by overlap.",
        "The permuted labels keep where in an image things tend to lie. So a detector is tied to "
        "the content of its image, but a unit that tells the content from the place alone is not "
        "found. A concept that lies at the same place in all images is shifted instead.",
        f"Only layer {notes['layer']} was studied. What skip connections carry past it is not "
        "seen.",
        f"Ablated units are set to {'zero' if notes['ablated_to'] == 'zero' else 'their mean'} "
        "everywhere, which can move the network to states that it never met; random units are "
        "ablated too, as a measure of that. Units that share a job make up for each other, so a "
        "single unit without effect may still be used.",
        "Concepts are compared on a coarser grid than the image's, which small objects may slip "
        "through.",
    ]
    if notes["members"] < notes["images"]:
        text = f"Intervals count the {notes['members']} groups of images"
        if notes["null"]["grouped"]:
            text += ", and label maps were permuted between groups as wholes."
        else:
            text += (
                ". For permutations they are too few, so label maps were permuted between single "
                "images: where images of a group are alike, units count as detectors too easily."
            )
        limits.append(text)
    elif notes["groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['groups']} groups, too few to test over. Intervals "
            "and tests count images, so they speak of these groups and not of new ones, and where "
            "images of a group are alike, units count as detectors too easily."
        )
    if notes["untested"]:
        limits.append(
            "Too few images to test what these lose, whatever it is: "
            f"{', '.join(notes['untested'])}."
        )
    if notes["labelled_images"] < notes["ablated_images"]:
        missing = notes["ablated_images"] - notes["labelled_images"]
        limits.append(
            f"{missing} ablated images have no labels; there, IoU is agreement with the network's "
            "own unedited prediction."
        )
    return tuple(limits)

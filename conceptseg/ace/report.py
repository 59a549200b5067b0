"""The report of an ACE study, from its result alone."""

from __future__ import annotations

from conceptseg.ace import exhibits, sections
from conceptseg.ace.assess import ALPHA
from conceptseg.report import Report
from conceptseg.result import Result


def compose(result: Result) -> Report:
    """Findings, concepts, where they lie, what erasing them costs, and how far to believe it."""
    notes = result.notes
    pairs = [dict(row) for row in result.tables["pairs"].rows]
    used = [row for row in pairs if row["used"]]
    context = [row for row in used if row["from_context"]]
    concepts = result.tables["concepts"].rows
    lead = (
        f"Layer {notes['layer']} of {notes['model']} was searched for visual concepts in "
        f"{notes['images']} images. {len(concepts)} concepts were found; "
        f"{len({row['concept'] for row in used})} of them are used by at least one class, "
        f"which means that the class's score moves along the concept more than along random "
        f"sets of segments, and that erasing the concept costs the class at least "
        f"{notes['smallest_effect']:.2f} IoU. "
        + (
            f"{len(context)} of these {len(used)} uses act from outside the object itself."
            if used
            else "No use was shown; the table of classes says how small an effect would have been "
            "seen."
        )
    )
    return Report(
        title="Concepts in a segmentation network",
        subtitle=f"ACE on {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Images", f"{notes['images']} of {notes['images_given']} given"),
            ("Segments", notes["segments"]),
            ("Concepts", len(concepts)),
        ),
        sections=(
            sections.classes(result, pairs),
            sections.erasure(result, pairs),
            sections.where(result, pairs),
            exhibits.concepts(result, pairs),
            exhibits.segment_map(result),
            sections.chance(result, pairs),
            exhibits.saliency(result),
            sections.all_pairs(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A concept is a group of image segments that the layer treats alike. Its name is a number; "
        "the words beside it say what lies under its segments, not what the network means by it.",
        "Segments are embedded in place, so a concept can carry its surroundings. The cosine with "
        "the crop alone says how much: low means that the concept is its surroundings.",
        "That the score moves along a concept says little by itself: most groups of like segments "
        "move it more than random groups do. A use needs the loss of IoU as well. Intervals take "
        "the concept's direction as given; the uncertainty of learning it is not in them.",
        f"Only layer {notes['layer']} was studied. What skip connections carry past it is not "
        "seen; the table of classes says how much that can be.",
        "Erasing moves the layer to states that the network may never have met. Random directions "
        "are erased too, as a measure of that.",
        "No finding is no proof of absence: the table of classes gives the smallest loss of IoU "
        "that would have been detected.",
    ]
    if notes["unit"] == "image" and notes["groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['groups']} groups, too few to test over. Intervals "
            "and tests count images, so they speak of these groups and not of new ones."
        )
    if notes["labelled_images"] < notes["erased_images"]:
        missing = notes["erased_images"] - notes["labelled_images"]
        limits.append(
            f"{missing} images have no labels; there, IoU is agreement with the network's own "
            "unedited prediction."
        )
    return tuple(limits)

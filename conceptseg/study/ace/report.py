"""The report of an ACE study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.ace import exhibits, sections
from conceptseg.study.ace.assess import ALPHA

EMBEDDINGS = {
    "pooled": "mean of the layer under the segment, in its image",
    "crops": "mean of the layer for the segment alone, cropped on grey",
}

SURROUNDINGS = {
    "pooled": (
        "Segments are embedded in place, so a concept can carry its surroundings. The cosine with "
        "the crop alone says how much: low means that the concept is its surroundings."
    ),
    "crops": (
        "Segments are embedded alone: cut out, put on grey and resized to the image's size, as ACE "
        "was published. What is around them cannot enter a concept, but such pictures are not what "
        "the network was trained on, and objects of all sizes look equally large. Scores and "
        "erasures are those of the whole images. The cosine with the segment in place says how far "
        "the two agree: where it is low, the concept of the crops may not be what the layer holds "
        "in the images."
    ),
}


def compose(result: Result) -> Report:
    """Findings, concepts, where they lie, what erasing them costs, and how far to believe it."""
    notes = result.notes
    target = notes["target"]
    pairs = [dict(row) for row in result.tables["pairs"].rows]
    used = [row for row in pairs if row["used"]]
    context = [row for row in used if row["from_context"]]
    concepts = result.tables["concepts"].rows
    lead = (
        f"Layer {notes['layer']} of {notes['model']} was searched for visual concepts in "
        f"{notes['images']} images. Concepts found: {len(concepts)}; used by at least one class: "
        f"{len({row['concept'] for row in used})}. Used means that the class's score moves along "
        "the concept more than along random sets of segments, and that erasing the concept costs "
        f"the class at least {notes['smallest_effect']:.2f} IoU. "
        + (
            f"Uses that act from outside the object itself: {len(context)} of {len(used)}."
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
            ("Score", f"{target['reduce']} {target['score']} over {notes['scored_on']}"),
            ("Embedding", EMBEDDINGS[notes["embedding"]]),
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
        SURROUNDINGS[notes["embedding"]],
        "That the score moves along a concept says little by itself: most groups of like segments "
        "move it more than random groups do. A use needs the loss of IoU as well. Intervals take "
        "the concept's direction as given; the uncertainty of learning it is not in them.",
        "The direction along which the score is tested leads to the concept from segments that lie "
        "at the same kind of place with respect to the class; the direction that is erased, one "
        "for all classes, leads to it from random other segments. The two are akin, not the same.",
        f"Only layer {notes['layer']} was studied. What skip connections carry past it is not "
        "seen; the table of classes says how much that can be.",
        "Erasing moves the layer to states that the network may never have met. Random directions "
        "are erased too, as a measure of that.",
        "No finding is no proof of absence: the table of classes gives the smallest loss of IoU "
        "that would have been detected.",
    ]
    target = notes["target"]
    if target["region"] != "predicted" or target["part"] != "whole" or target["box"] is not None:
        limits.append(
            f"A class is scored on {notes['scored_on']}. Where concepts lie, what comes from "
            "outside the class and what is erased outside of it always refer to the class's "
            "predicted region."
        )
    if notes["unit"] == "image" and notes["groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['groups']} groups, too few to test over. Intervals "
            "and tests count images, so they speak of these groups and not of new ones."
        )
    if notes["unit"] == "group" and notes["groups"] < notes["images"]:
        limits.append(
            "Intervals, the test of the loss of IoU and the held-out AUC count groups of images. "
            "The tests of the score change and of metadata count images, as if those of a group "
            "were independent, so their p-values are too small; no use rests on them alone."
        )
    if notes["labelled_images"] < notes["erased_images"]:
        missing = notes["erased_images"] - notes["labelled_images"]
        limits.append(
            f"{missing} images have no labels; there, IoU is agreement with the network's own "
            "unedited prediction."
        )
    return tuple(limits)

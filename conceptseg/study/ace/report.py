"""The report of an ACE study, from its result alone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.ace import exhibits, sections
from conceptseg.study.ace.verdict import out_of_reach
from conceptseg.study.shared import local_maps, mistaken_report
from conceptseg.study.shared.verdicts import beside_random, open_pairs

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
    return cover.report(
        result,
        title="Concepts in a segmentation network",
        method="ACE on",
        lead=_lead(result),
        facts=(
            ("Segments", _segments(notes)),
            ("Score", f"{target['reduce']} {target['score']} over {notes['scored_on']}"),
            ("Embedding", EMBEDDINGS[notes["embedding"]]),
            ("Concepts", len(result.tables["concepts"].rows)),
        ),
        sections=(
            mistaken_report.section(result),
            sections.classes(result),
            sections.erasure(result),
            sections.where(result),
            exhibits.concepts(result),
            exhibits.segment_map(result),
            sections.chance(result),
            local_maps.section(
                result,
                "Where single images are looked at when the class is predicted. All maps of one "
                "method share a scale. Such maps show places, not what is there; the concepts "
                "above name it.",
            ),
            sections.all_pairs(result),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result),
    )


def _segments(notes: Mapping[str, Any]) -> str:
    """How many there are, and how many an image is cut into at each scale."""
    scales = ", ".join(map(str, notes.get("scales", ())))
    return f"{notes['segments']}" + (f", cut at {scales} an image" if scales else "")


def _lead(result: Result) -> str:
    notes, pairs = result.notes, result.tables["pairs"]
    used = pairs.where(lambda row: row["used"])
    context = used.where(lambda row: row["from_context"])
    if not result.tables["concepts"].rows:
        return (
            f"Layer {notes['layer']} of {notes['model']} was searched for visual concepts in "
            f"{notes['images']} images, and none was kept. {_dropped(result)}"
        ).strip()
    rare = "p_random" in pairs.columns  # not of earlier versions
    lead = (
        f"Layer {notes['layer']} of {notes['model']} was searched for visual concepts in "
        f"{notes['images']} images. Concepts found: {len(result.tables['concepts'].rows)}; used by "
        f"at least one class: {len(used.by('concept'))}. Used means that the class's score moves "
        "along the concept more than along random sets of segments, and that erasing the concept "
        f"costs the class at least {notes['smallest_effect']:.2f} IoU"
        + (", and more than nineteen of twenty random directions do" if rare else "")
        + (
            ", or, where these hold part of the concept, than what they hold beside it"
            if "p_apart" in pairs.columns and any(row["p_apart"] is not None for row in pairs.rows)
            else ""
        )
        + f". {beside_random(pairs, 'random directions')}"
    )
    if used.rows:
        acting = f"{len(context.rows)} of {len(used.rows)}"
        lead += f"Uses that act from outside the object itself: {acting}. "
        why = out_of_reach(notes)
        lead += f"{why}. " if why else ""
    else:
        lead += "No use was shown, which does not show that there is none. "
    # Results of earlier versions have no verdicts.
    return (lead + (_open(pairs) if "verdict" in pairs.columns else "")).strip()


def _dropped(result: Result) -> str:
    """Why no cluster became a concept, and what would help."""
    dropped = [one for one in result.skipped if one.get("kind") == "cluster"]
    least = result.config["min_images"]
    few = sum(one["images"] < least for one in dropped)
    if few:
        return (
            f"{few} of {len(dropped)} clusters of segments lie in fewer than {least} images: give "
            "more images, or set min_images lower."
        )
    reasons = Counter(one["reason"].partition(",")[0] for one in dropped)
    return " ".join(f"{count} of {len(dropped)} clusters: {one}." for one, count in reasons.items())


def _open(pairs: Table) -> str:
    return open_pairs(pairs, "loss", " if the score moves along the concept as well")


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
        "Absence of evidence is not evidence of absence: nothing here says that a class does not "
        "use a concept. The table of classes gives the loss of IoU that would have been shown, "
        "after correction, in four of five such data sets.",
    ]
    target = notes["target"]
    if target["region"] != "predicted" or target["part"] != "whole" or target["box"] is not None:
        limits.append(
            f"A class is scored on {notes['scored_on']}. Where concepts lie, what comes from "
            "outside the class and what is erased outside of it always refer to the class's "
            "predicted region."
        )
    if notes["unit"] == "group" and notes["groups"] < notes["images"]:
        limits.append(
            "Intervals, the test of the loss of IoU, the held-out AUC and the test of metadata "
            "count groups of images. The test of the score change counts images, as if those of a "
            "group were independent, so its p-values are too small; no use rests on it alone."
        )
    if "p_random" in result.tables["pairs"].columns:  # not of earlier versions
        limits.append(
            "A p of a score change that fewer than ten of 999 random concepts or more reach "
            "follows a tail that was fitted to the largest of them; the calibration speaks of p at "
            "0.05."
        )
    if notes["labelled_images"] < notes["erased_images"]:
        missing = notes["erased_images"] - notes["labelled_images"]
        limits.append(
            f"{missing} images have no labels; there, IoU is agreement with the network's own "
            "unedited prediction."
        )
    return tuple(limits)

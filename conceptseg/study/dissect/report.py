"""The report of a dissection, from its result alone."""

from dataclasses import replace

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.dissect import exhibits, sections
from conceptseg.study.dissect.config import LEAST_BLOCKS
from conceptseg.study.shared import local_maps, mistaken_report
from conceptseg.study.shared.verdicts import beside_random, open_pairs


def compose(result: Result) -> Report:
    """What units detect, which classes use it, the units themselves, and how much is chance."""
    notes = result.notes
    if "members" in notes:  # earlier versions: `groups` was the manifest's number
        own = {"groups": notes["members"], "manifest_groups": notes["groups"]}
        result = replace(result, notes={**notes, **own})
    return cover.report(
        result,
        title="What the units of a segmentation network detect",
        method="Network dissection of",
        lead=_lead(result),
        facts=(
            ("Units", f"{notes['units']}, {notes['units'] - notes['live']} of them dead"),
            ("Detectors", notes["detectors"]),
        ),
        sections=(
            mistaken_report.section(result),
            sections.detectors(result),
            sections.causal(result),
            exhibits.cards(result),
            sections.grid(result),
            sections.chance(result),
            sections.published(result),
            local_maps.section(
                result,
                "Where single images are looked at when the class is predicted. All maps of one "
                "method share a scale. Such maps show places, not what is there; the units above "
                "name it.",
            ),
            sections.numbers(result),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, exhibits.illustrate(result)),
    )


def _lead(result: Result) -> str:
    notes, concepts = result.notes, result.tables["concepts"]
    used = len(concepts.where(lambda row: row["used_by"] not in (None, "none")).rows)
    lead = (
        f"The {notes['units']} units of layer {notes['layer']} of {notes['model']} were compared "
        f"with {len(concepts.rows)} concepts in {notes['images']} images. {notes['detectors']} "
        f"units detect one of {notes['unique']} concepts: their masks agree beyond what label maps "
        "of other images give, on images that did not choose the concept. "
    )
    losses = result.tables["losses"]
    random = "nineteen of twenty random sets" if "p_random" in losses.columns else "random ones"
    if used:
        lead += (
            f"{used} of these concepts {'is' if used == 1 else 'are'} used: a class loses at least "
            f"{notes['smallest_effect']:.2f} IoU without the units, and more than without "
            f"{random}. "
        )
    else:
        lead += "No use was shown, which does not show that there is none. "
    lead += beside_random(losses, "random sets of units")
    # Results of earlier versions have no verdicts.
    return (lead + (open_pairs(losses, "change") if "verdict" in losses.columns else "")).strip()


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A unit's concept is the one it overlaps most among those that were asked for. What the "
        "unit means to the network may have no name here; two concepts that lie together cannot "
        "be distinguished by overlap.",
        "The permuted labels keep where in an image things tend to lie. So a detector is tied to "
        "the content of its image, but a unit that follows the content only through its place is "
        "not called one. A concept that lies at the same place in all images is shifted instead.",
        f"Only layer {notes['layer']} was studied. What skip connections carry past it is not "
        "seen.",
        f"Ablated units are set to {'zero' if notes['ablated_to'] == 'zero' else 'their mean'} "
        "everywhere, which can move the network to states that it never met; random units are "
        "ablated too, as a measure of that. Units that share a job make up for each other, so a "
        "single unit without effect may still be used; the table of concepts says how well what "
        "remains of the layer still reads each.",
        "Concepts are compared on a coarser grid than the image's, on which small objects may be "
        "lost.",
    ]
    if notes["null"]["grouped"]:
        limits.append("Label maps were permuted between groups of images as wholes.")
        if (blocks := notes["null"].get("blocks", LEAST_BLOCKS)) < LEAST_BLOCKS:
            limits.append(
                f"These were {counted(blocks, 'group')}, with too few orders for a unit among many "
                "to be shown to detect anything: give images of more groups."
            )
    elif notes["manifest_groups"] < notes["images"]:
        limits.append(
            "Label maps were permuted between single images: where images of a group are alike, "
            "too many units count as detectors."
        )
    if notes["untested"]:
        limits.append(
            "Their losses could not be tested, however large, because too few images hold them: "
            f"{', '.join(notes['untested'])}."
        )
    if notes["labelled_images"] < notes["ablated_images"]:
        missing = notes["ablated_images"] - notes["labelled_images"]
        limits.append(
            f"{missing} ablated images have no labels; there, IoU is agreement with the network's "
            "own unedited prediction."
        )
    return tuple(limits)

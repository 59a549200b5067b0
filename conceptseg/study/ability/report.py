"""The report of an ability study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import FEWEST
from conceptseg.study.ability import sections

ALPHA = 0.05


def compose(result: Result) -> Report:
    """What each layer can tell, where classes emerge, what is lost, and how much is chance."""
    notes = result.notes
    return Report(
        title="Where classes become readable",
        subtitle=f"Segmentation ability of the layers of {notes['model']}, data "
        f"{notes['manifest']}",
        lead=_lead(result),
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Data", notes["manifest"]),
            ("Images", f"{notes['images']} of {notes['images_given']} given"),
            ("Layers", len(notes["layers"])),
            ("Classes", len(notes["classes"])),
        ),
        sections=(
            sections.levels(result),
            sections.emergence(result),
            sections.forgotten(result),
            sections.units(result),
            sections.chance(result),
            sections.estimate(result),
            sections.saliency(result),
            sections.numbers(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _lead(result: Result) -> str:
    notes = result.notes
    rows = result.tables["classes"].rows
    early = [row for row in rows if row["emerges"] not in (None, notes["layers"][-1])]
    faded = [row for row in rows if (row["fade_low"] or 0.0) > 0]
    untold = [row for row in rows if row["doubt"]]
    told = (
        f"{len(notes['layers'])} layers of {notes['model']} were read for "
        f"{len(notes['classes'])} classes in {notes['images']} images. {len(early)} classes reach "
        f"{notes['enough']:.0%} of the output's Dice before the last layer that was read"
        f"{_untold(len(untold))}. For {len(faded)} the layer that reads best in one half of the "
        "images is above the last in the other half, each class's 95 % interval taken by itself. "
    )
    if notes["forgotten"]:
        told += f"{notes['forgotten']} objects are seen by a layer and lost by the output."
    else:
        told += "No object is seen by a layer and lost by the output."
    return told


def _untold(count: int) -> str:
    return f"; of {count} no depth can be told" if count else ""


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A layer that can be read need not be used: that a class can be told from a layer does not "
        "say that the network's output rests on it.",
        "Prototypes draw straight borders, halfway between means; a layer may hold a class in a "
        "way that they miss. The linear probe is less strict, and is told the labels.",
        "Coarse layers are read on the image's grid after bilinear resizing, so thin objects are "
        "lost in them whatever they hold.",
        "Forgotten objects are those where a layer did better than the output, and not where it "
        "did worse: the list says where to look, not how often a better reading could be had.",
        f"Noise was read on {notes['control_images']} images, single units on "
        f"{notes['unit_images']}; the shuffled network on all, by prototypes of the same images "
        "as the network's own.",
        f"Of fewer than {FEWEST} images, or groups where these are counted, no interval is told.",
    ]
    if not notes["halves_by_group"]:
        limits.append("All images are of one group, so prototypes have seen images of that group.")
    if notes["unit"] == "image" and notes["manifest_groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['manifest_groups']} groups, too few to test over. "
            "Intervals and tests count images, so they speak of these groups and not of new ones."
        )
    return tuple(limits)

"""The report of an ability study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.ability import sections
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """What each layer can tell, where classes emerge, what is lost, and how much is chance."""
    notes = result.notes
    objects = TableBlock(result.tables["images"], "Every object", limit=500, folded=True)
    return cover.report(
        result,
        title="Where classes become readable",
        method="Segmentation ability of the layers of",
        lead=_lead(result),
        facts=(("Layers", len(notes["layers"])), ("Classes", len(notes["classes"]))),
        sections=(
            sections.levels(result),
            sections.emergence(result),
            sections.forgotten(result),
            sections.units(result),
            sections.chance(result),
            sections.estimate(result),
            local_maps.section(
                result,
                "Where the network looks in single images. All maps of one method share a scale.",
            ),
            Section("numbers", "All numbers", "", [objects]),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    rows = result.tables["classes"].rows
    early = [row for row in rows if row["emerges"] not in (None, notes["layers"][-1])]
    faded = [row for row in rows if (row["fade_low"] or 0.0) > 0]
    unclear = sum(bool(row["doubt"]) for row in rows)
    no_depth = f"; for {unclear} no depth can be reported" if unclear else ""
    text = (
        f"{len(notes['layers'])} layers of {notes['model']} were read for "
        f"{counted(len(notes['classes']), 'class')} in {notes['images']} images. "
        f"{len(early)} of these reach {notes['enough']:.0%} of the output's Dice before the last "
        "layer that was read"
        f"{no_depth}. For {len(faded)} the layer that reads best in one half of the "
        "images is above the last in the other half, each class's 95 % interval taken by itself. "
    )
    if notes["forgotten"]:
        text += f"{notes['forgotten']} objects are seen by a layer and lost by the output."
    else:
        text += "No object is seen by a layer and lost by the output."
    return text


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A layer that can be read need not be used: that a class is readable at a layer does not "
        "mean that the network's output depends on it.",
        "Prototypes draw straight borders, halfway between means; a layer may hold a class in a "
        "way that they miss. The linear probe is less strict; it learns from the labels.",
        "Coarse layers are read on the image's grid after bilinear resizing, so thin objects are "
        "lost in them whatever they hold.",
        "Forgotten objects are those where a layer did better than the output, and not where it "
        "did worse: the list says where to look, not how often a better reading is possible.",
        "Intervals of a layer's Dice, and of what it is above the output or chance, are over new "
        "data sets, prototypes learnt anew; those of a Dice also allow for rare images that none "
        "of these is like, and hold the truth in 95 % of data sets or more. Those of probes, of "
        "noise and of single units hold for the readers as they were learnt.",
        f"Noise was read on {notes['control_images']} images, single units on "
        f"{notes['unit_images']}; the shuffled network on all, by prototypes of the same images "
        "as the network's own.",
    ]
    if not notes["halves_by_group"]:
        limits.append("All images are of one group, so prototypes have seen images of that group.")
    return tuple(limits)

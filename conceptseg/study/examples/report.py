"""The report of an examples study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.examples import sections
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """Prototypes and criticisms, which of them stand for errors, and what neighbours foretell."""
    notes = result.notes
    return cover.report(
        result,
        title="Which examples stand for each class",
        method="Examples of",
        lead=_lead(result),
        facts=(("Objects", f"{notes['objects']}, {notes['regions']}"),),
        sections=(
            sections.portraits(result),
            sections.standing(result),
            sections.foretell(result),
            local_maps.section(
                result, "Such maps show where in one image; examples show in which."
            ),
            sections.numbers(result),
        ),
        limits=_limits(result),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    text = (
        f"{notes['objects']} objects of {counted(len(notes['classes']), 'class')}, in "
        f"{notes['images']} images, were compared by what the layer holds of them, their shape, "
        "their place and their "
        "surroundings."
    )
    if notes["told"]:
        text += f" Of {notes['told']} with labels {notes['wrong']} are wrong."
    else:
        text += " None has labels, so nothing is said of right and wrong."
    return text


def _limits(result: Result) -> list[str]:
    notes = result.notes
    missed = notes["regions"] == "predicted"
    return [
        "An object is a connected component: two that touch are one, and one that is hidden in "
        "part may be several.",
        "Objects that the network misses altogether are not among those predicted."
        if missed
        else "False alarms, where nothing is labelled, are not among those labelled.",
        f"An object is wrong if fewer than {notes['right']:.0%} of its labelled pixels are right; "
        "how well its border is met does not count.",
        "Likeness is of these descriptors in these weights; another layer may find others alike.",
        "Prototypes describe these objects. That one stands for many is no proof that the network "
        "compares with it.",
    ]

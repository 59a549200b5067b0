"""The report of an actmax study, from its result alone."""

from dataclasses import replace

from conceptseg.report import cover
from conceptseg.report.blocks import Report, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.study.actmax import sections
from conceptseg.study.actmax.judge import UNSHOWN
from conceptseg.study.shared import local_maps

OBJECTIVES = {
    "channel": "mean of a unit over the picture",
    "position": "value of a unit at the picture's centre",
    "direction": "activation along a direction, times its squared cosine",
    "class": "log-odds of a class in the picture's middle",
}
METHODS = {
    "maco": "MACO: amplitudes and colours of the data set, free phases",
    "fourier": "free Fourier coefficients, scaled by 1 / frequency",
    "natekar": "free Fourier coefficients with the regularisers of Natekar et al. 2020",
}


def compose(result: Result) -> Report:
    """Pictures beside real images, what they reach, what they resemble, and how they were made."""
    # Results of earlier versions do not say that units are counted.
    notes = {"unit": "unit", **result.notes}
    result = replace(result, notes=notes)
    numbers = TableBlock(result.tables["units"], "Every unit", folded=True, limit=1000)
    return cover.report(
        result,
        title="What units of a segmentation network would like to see",
        method="Activation maximisation on",
        lead=_lead(result),
        facts=(
            ("Maximised", OBJECTIVES[notes["objective"]]),
            ("Method", METHODS[notes["method"]]),
            ("Pictures", f"{notes['seeds']} per unit, {notes['side']} px, {notes['steps']} steps"),
            ("Dead units", notes["dead"]),
        ),
        sections=(
            sections.pictures(result),
            sections.trust(result),
            sections.chance(result),
            sections.ascent(result),
            local_maps.section(
                result,
                "Where the network looks when it predicts the largest class of some of these "
                "images. Such maps show places, not what is there.",
            ),
            Section("numbers", "All numbers", "", [numbers]),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    words = [row["verdict"] for row in result.tables["units"].rows]
    lead = (
        f"Pictures were made that excite {notes['features']} units of layer {notes['layer']} of "
        f"{notes['model']} as much as possible. {words.count('representative')} of them resemble "
        "the real images that excite their unit and not just any; "
        f"{words.count('beyond the data')} drive their unit beyond any real image and were not "
        f"shown to resemble its images, {words.count(UNSHOWN)} stay within the data's range and "
        "were not shown to resemble them either. "
    )
    if words.count("not testable"):
        lead += (
            f"{words.count('not testable')} could not have passed, whatever they resemble, because "
            "too few units are compared: the table shows how alike they are. "
        )
    lead += "No picture stands alone: the unit's strongest real images are beside it."
    if words.count("not started"):
        lead += f" For {words.count('not started')} the ascent found no gradient to follow."
    return lead


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A picture is one point at which a unit is high. It shows what can excite the unit, not "
        "all that does, and not what the unit is used for: see dissect for both.",
        "Likeness is measured in an earlier layer of the same network and, beside it, with the "
        "network's weights shuffled. Neither is how people see.",
        "A picture counts as representative if it is more like its unit's strongest images than "
        f"like those of nearly all other units (of {notes['compared']} looked at), corrected over "
        "the units shown. Units that share a third of these images are not compared. Where too few "
        "others are left for a picture to pass, it counts as not testable.",
        "Amplitudes of the data set are averages over images: the pictures have textures of the "
        "data everywhere, never the data's composition.",
        "Where pictures of two seeds differ, both are answers; the unit may respond to several "
        "things.",
    ]
    if notes["method"] != "maco":
        limits.append(
            "Amplitudes were free: high frequencies that no image of the data set has can drive "
            "a unit without meaning anything. Compare with the method maco."
        )
    if notes["left_out"]:
        limits.append(
            f"{notes['left_out']} live units got no picture: those shown vary most over images. "
            "Name others by `units`, or raise `most`."
        )
    if notes["objective"] == "position":
        limits.append(
            "A picture's centre is compared with the best place of each real image, which favours "
            "the real images."
        )
    return tuple(limits)

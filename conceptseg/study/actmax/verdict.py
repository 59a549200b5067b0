"""What an actmax run says as a whole: how many of its pictures may be read at all."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, counted, listed

DISSECT = "`conceptseg dissect` says which class uses a unit."


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": a picture shows what excites a unit, and not what the unit is for."""
    words = [row["verdict"] for row in result.tables["units"].rows]
    good, few, stalled = map(words.count, ("representative", "not testable", "not started"))
    many, unjudged, why = counted(len(words), "picture"), few + stalled, _why(few, stalled)
    left = f"; {unjudged} could not be judged ({why})" if unjudged else ""
    if good:
        told = f"{good} of {many} may be read as something their unit responds to{left}"
        advice = f"Read the pictures that passed, beside their real images; {DISSECT}"
    elif 2 * unjudged > len(words):
        told = f"{unjudged} of {many} could not be judged one by one ({why})"
        told += _on_average(result)
        advice = f"{_cure(few, stalled)} Until then look at the units' real images alone."
    else:
        told = f"None of {many} was shown to resemble what its unit responds to in real images"
        told += left + _on_average(result)
        advice = (
            "Do not take a picture for what its unit detects; look at the units' real images. "
            f"{DISSECT}"
        )
    return cannot_tell(f"{told}; whether a class uses it is not asked here.", advice)


def _why(few: int, stalled: int) -> str:
    """Why pictures could not be judged, by how many have too few others, and did not start."""
    few_why = f"of {few} too few other units are compared" if few else ""
    stalled_why = f"of {stalled} the ascent found no gradient to follow" if stalled else ""
    return listed(why for why in (few_why, stalled_why) if why)


def _cure(few: int, stalled: int) -> str:
    """What would let most of these pictures be judged."""
    if stalled > few:
        return "Give the ascent more `steps`, or another `method`."
    return (
        "Make fewer pictures (`most`, or name `units`), or compare more units (`compared`, or a "
        "layer that has more). Units that share a third of their images are not compared, so more "
        "images help as well."
    )


def _on_average(result: Result) -> str:
    """That pictures as a whole resemble their units' images, where that was shown."""
    shown = any(
        one.evidence == "likeness" and one.standing == "evidence" and (one.effect or 0) > 0
        for one in result.findings
    )
    return "; on average pictures resemble the real images of their own unit" if shown else ""

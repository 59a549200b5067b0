"""What a graph says as a whole: how classes come about, and never that they should not so."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, counted


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": which of a network's ways are good ones, a graph does not know."""
    notes = result.notes
    if notes["tested"] and not notes.get("testable", notes["tested"]):
        return cannot_tell(
            f"None of {counted(notes['tested'], 'edge')} that were carried out could have been "
            f"shown to hold: a test takes {notes['needs']} in the half of the images that judges.",
            "Give more images, or set unit: image.",
        )
    random = ""
    if asked := notes.get("asked_specific", notes["tested"]):
        more = notes["specific"]
        random = f"; of {asked} that were compared {more} carry more than random groups of units"
    told = (
        f"{counted(notes['confirmed'], 'edge')} of {notes['tested']} that were carried out hold in "
        f"both directions{random}"
        if notes["confirmed"]
        else f"None of {counted(notes['tested'], 'edge')} that were carried out was shown to hold"
    )
    return cannot_tell(
        f"{told}; whether a class should come about so is not asked here.",
        "Look at the atoms that speak for a class and respond elsewhere, and ask `conceptseg "
        "audit` about what they show.",
    )

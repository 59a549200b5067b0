"""What an ability study says as a whole: a concern where what a layer can tell is lost later on."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown


def verdict(result: Result) -> Verdict:
    """A class that a layer reads better than the output does, by a corrected test, is a concern."""
    lost = [one for one in result.findings if one.by == "test" and one.evidence == "levels"]
    if lost:
        told = listed(f"{one.class_} after {one.details['layer']}" for one in lost)
        return concern(
            f"The network loses what one of its layers can still tell: {told}.",
            "Look at the forgotten objects; more training of what follows the layer may keep them.",
        )
    rows = result.tables["classes"].rows
    unclear = sum(bool(row["doubt"]) for row in rows)
    if unclear > len(rows) / 2:
        return cannot_tell(
            f"For {unclear} of {len(rows)} classes no depth can be reported.",
            "Give more images that hold these classes.",
        )
    return none_shown(
        "No class was shown to be read better by a layer than by the output.",
        "The list of forgotten objects says where to look first.",
    )

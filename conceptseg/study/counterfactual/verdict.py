"""What a counterfactual study says as a whole: a concern where surroundings alone turn a class."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown

SELDOM = 0.25
"""Share of images, at the interval's low end, from which on it is no rare thing."""


def verdict(result: Result) -> Verdict:
    """A region that is not the class's own, and whose edit alone turns it into another class."""
    rows = result.tables["regions"].rows
    turned = [
        f"{row['class']} by {row['region']}"
        for row in rows
        if not row["own"] and row["share_low"] is not None and row["share_low"] >= SELDOM
    ]
    if turned:
        return concern(
            "A class becomes another when what lies around it is edited, and it is left as it "
            f"was: {listed(turned)}.",
            "Look at the edits below, and confirm it by `conceptseg audit`.",
        )
    around = [row for row in rows if not row["own"]]
    if not any(row["images"] >= 5 for row in around):
        return cannot_tell(
            "Too few images showed anything around the classes that could be edited.",
            "Give more images, or lower min_region_fraction.",
        )
    return none_shown(
        "No class was shown to become another by editing what lies around it.",
        "Edits keep shapes and stay within the data's looks; `conceptseg audit` swaps contexts.",
    )

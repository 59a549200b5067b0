"""What a permutation study says as a whole: which parts are needed, and never that it is wrong."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, listed
from conceptseg.study.permutation.config import EVERYTHING, OVERALL
from conceptseg.study.permutation.sections import needed, swaps


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": a part of the input that is needed may be of the object or not."""
    rows = swaps(result).where(lambda row: row["class"] == OVERALL and needed(row))
    parts = [row["part"] for row in rows.sorted(lambda row: -row["value"]).rows]
    parts = [part for part in parts if part != EVERYTHING]
    told = "No part was shown to be needed"
    if parts:
        told = f"It needs the image's own {listed(parts)}"
    return cannot_tell(
        f"{told}; whether that is of the objects or of their surroundings is not asked here.",
        "Ask whether a network that depends on these parts fits your purpose: a camera or a "
        "scanner may change them. `conceptseg audit` asks about surroundings.",
    )

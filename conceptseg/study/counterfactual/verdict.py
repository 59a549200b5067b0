"""What a counterfactual study says as a whole: a concern where surroundings alone turn a class."""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown
from conceptseg.stats.intervals import ALPHA

SELDOM = 0.25
"""Share of images, at the interval's low end, from which on it is no rare thing."""


def verdict(result: Result) -> Verdict:
    """A region that is not the class's own, and whose edit alone turns it into another class more
    often than edits of as much elsewhere do."""
    around = [row for row in result.tables["regions"].rows if not row["own"]]
    often = [row for row in around if row["share_low"] is not None and row["share_low"] >= SELDOM]
    more = [row for row in often if row["p_corrected"] is not None and row["p_corrected"] <= ALPHA]
    if more:
        return concern(
            "A class becomes another when what lies around it is edited, and it is left as it "
            f"was: {_named(more)}.",
            "Look at the edits below, and confirm it by `conceptseg audit`.",
        )
    if often:
        return cannot_tell(
            "A class becomes another when what lies around it is edited, but it was not shown that "
            f"edits of as much elsewhere do so less often: {_named(often)}.",
            "A network that edits turn wherever they are made relies on no region by that; "
            "`conceptseg audit` swaps contexts instead.",
        )
    if not any(row["images"] >= 5 for row in around):
        return cannot_tell(
            "Too few images showed anything around the classes that could be edited.",
            "Give more images, or lower min_region_fraction.",
        )
    return none_shown(
        "No class was shown to become another by editing what lies around it.",
        "Edits keep shapes and stay within the data's looks; `conceptseg audit` swaps contexts.",
    )


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    return listed(f"{row['class']} by {row['region']}" for row in rows)

"""What a deepdream run says as a whole: a concern where a flip changes a region's surroundings."""

from collections.abc import Mapping
from typing import Any

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.deepdream.assess import FAR


def verdict(result: Result) -> Verdict:
    """Paths that change what lies far from the region they are to flip, beyond shuffled weights."""
    rows = result.tables["outside"].rows
    far = [row for row in rows if _far(row)]
    if far:
        return concern(
            "To change what a region is called, the network asks for changes far from it: "
            f"{listed(row['path'] for row in far)}.",
            "Look at where the pictures change, and confirm it by `conceptseg audit`.",
        )
    tested = [row for row in rows if row["p_holm"] is not None]
    if len(tested) <= len(rows) / 2:
        return cannot_tell(
            "Too few regions changed their class for a test: of "
            f"{len(rows)} kinds of path {len(tested)} could be tested.",
            "Give more starts or more steps.",
        )
    return none_shown(
        "No kind of path was shown to change much that lies far from its region.",
        "What does change stands below, beside what differs between the classes in the data.",
    )


def _far(row: Mapping[str, Any]) -> bool:
    p, low = row["p_holm"], row["low"]
    return p is not None and p <= ALPHA and low is not None and low > FAR

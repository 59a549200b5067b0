"""What a brightness study says as a whole."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown
from conceptseg.stats.intervals import ALPHA


def verdict(result: Result) -> Verdict:
    """A class that differs from what lies around it might be told by its brightness alone."""
    rows = result.tables["gaps"].rows
    if not rows:
        return cannot_tell("No class is in enough images.", "Give more images.")
    differ = [row["class"] for row in rows if (row["p_adjusted"] or 1) <= ALPHA]
    if differ:
        return concern(f"Brightness tells {listed(differ)} apart.", "Look at darker images too.")
    return none_shown("No class was shown to differ in brightness.", "Look at other cues.")

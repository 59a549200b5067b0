"""What a diff study says as a whole: a concern where the checkpoint drifted."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown


def verdict(result: Result) -> Verdict:
    """A concern where a class, or what it owes to a concept, changed; none shown where all could
    have been tested and none did; else that it cannot tell."""
    shown = [one for one in result.findings if one.standing == "evidence"]
    if shown:
        names = listed(str(one.class_) for one in shown)
        more = "" if result.notes["seeds"] else " How far trainings differ by chance is not known."
        return concern(
            f"The other checkpoint drifted: {counted(len(shown), 'change')} of {names}.",
            "Look at the concepts and images that changed before the checkpoint is used." + more,
        )
    tested = [row for name in ("classes", "shifts") for row in result.tables[name].rows]
    if not tested or any(row["p_adjusted"] is None for row in tested):
        return cannot_tell(
            "No change was shown, and not every one could have been.",
            "Give more images, or groups of them.",
        )
    return none_shown(
        "No class, and nothing that a class owes to a concept, was shown to change.",
        "See the changes that would have been detected before the checkpoint is used.",
    )

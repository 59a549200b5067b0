"""What an ACE run says as a whole: a concern where a use acts from outside the class's object."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.study.ace.naming import called

ADVICE = (
    "Look at the pictures of these concepts. Where they are not part of the object, confirm it by "
    "`conceptseg audit --set found=THIS_RUN`, and train on images that come with and without them."
)


def verdict(result: Result) -> Verdict:
    """A use from context is a concern; that none was shown, where half of the pairs were testable.

    Concepts that a class's mistakes lie on are no context by themselves; they stand in findings.
    """
    pairs = result.tables["pairs"]
    used = pairs.where(lambda row: row["used"]).rows
    acting = [row for row in used if row["from_context"]]
    if acting:
        names = called(result)
        told = listed(f"{row['class']} by {names[row['concept']]}" for row in acting)
        return concern(f"The network finds a class by what lies outside of it: {told}.", ADVICE)
    blind = sum(row.get("verdict") in ("not testable", "underpowered") for row in pairs.rows)
    if not pairs.rows or blind > len(pairs.rows) / 2:
        return cannot_tell(
            f"Of {counted(len(pairs.rows), 'pair')} of class and concept, {blind} could hardly "
            "have been shown to be used.",
            "Give more images of each class, or lower min_images.",
        )
    still_open = sum(row["from_context"] is None for row in used)
    which = "one does" if still_open == 1 else f"{still_open} do"
    rest = f" Of {counted(len(used), 'use')}, whether {which} so stays open."
    return none_shown(
        "No class was shown to use a concept from outside of its own object."
        + (rest if still_open else ""),
        "This is no proof that there is none: the table of classes gives the loss that would have "
        "been shown. `conceptseg audit` asks of contexts that you name.",
    )

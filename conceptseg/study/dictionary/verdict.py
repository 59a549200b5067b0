"""What a dictionary study says as a whole: a concern where failures hang on one atom."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed

LARGE = 0.2
"""Share of the lost IoU from which a repair says why a class fails."""


def verdict(result: Result) -> Verdict:
    """A concern where one atom, set to its mean, gives back a good part of what a class lost.

    Never "none shown": atoms that are used may be of objects or of their surroundings, which is
    not asked here, and failures may hang on several atoms.
    """
    if not result.notes["recovers"]:
        return cannot_tell(
            "The atoms do not rebuild the prediction, so nothing can be claimed of them.",
            "Give more atoms (finder.counts), or a layer of fewer units.",
        )
    rows = [
        one
        for one in result.findings
        if one.fault and one.standing == "evidence" and one.details["regained"] >= LARGE
    ]
    if rows:
        names = {row["class"]: row["name"] for row in result.tables["repairs"].rows}
        told = listed(f"{one.class_} on {names[str(one.class_)]}" for one in rows)
        return concern(
            f"Failures hang on single atoms of the layer: {told}.",
            "Look at the images of these atoms: what they show decides where it should not. "
            "`conceptseg audit` tests whether it is context.",
        )
    tested = len(result.tables["repairs"].rows)
    said = (
        "Where classes fail, no single atom was shown to be the reason"
        if tested
        else "No class fails in enough images to ask what would repair it"
    )
    return cannot_tell(
        f"{said}; whether the atoms that classes use are theirs is not asked here.",
        "See the atoms: one whose name or images are not of the class is worth an audit.",
    )

"""What a SegNBDT run says as a whole: first whether its tree may be read at all."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.segnbdt.columns import KNOWN

LEAST_AGREEMENT = 0.9
"""Agreement with the network below which a tree's nodes describe the tree alone."""


def verdict(result: Result) -> Verdict:
    """A tree not shown to be better than random ones, or that seldom agrees with the network, is
    not to be read.

    Of one that may be read, a decision that changes with the known context is a concern; nothing
    can be shown of data that name none.
    """
    notes = result.notes
    rows = {row["decided_by"]: row for row in result.tables["fidelity"].rows}
    agreement = rows["tree, hard"]["agreement"]
    if notes["p_random"] > ALPHA:
        return cannot_tell(
            "The tree was not shown to agree with the network better than random trees do: it is "
            "not to be read as what the network does.",
            "Read nothing into its nodes. Try another hierarchy, or tune the tree (tune: head).",
        )
    if agreement < LEAST_AGREEMENT:
        return cannot_tell(
            f"The tree decides otherwise than the network at {1 - agreement:.0%} of the pixels: "
            "its nodes describe the tree, not the network.",
            "Read nothing into its nodes. Try another hierarchy, or tune the tree (tune: head).",
        )
    asked = [row for row in result.tables["parts"].rows if row["part"] == KNOWN]
    moved = [row for row in asked if row["p_holm"] is not None and row["p_holm"] <= ALPHA]
    if moved:
        return concern(
            "Decisions change with the context that the data set names: "
            f"{listed(row['branch'] for row in moved)}.",
            "Confirm it by `conceptseg audit`, which changes the surroundings of whole objects.",
        )
    if all(row["p_holm"] is None for row in asked):
        why = "could not be tested" if asked else "was not asked: the data set names none"
        return cannot_tell(
            f"The tree may be read as the network; whether decisions change with context {why}.",
            "Look at the nodes at which most pixels go wrong; `conceptseg audit` asks about "
            "surroundings.",
        )
    return none_shown(
        "The tree may be read as the network, and no decision was shown to change with the "
        "context that the data set names.",
        "Look at the nodes at which most pixels go wrong.",
    )

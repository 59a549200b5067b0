"""What a dissection says as a whole: a concern where a class uses units for what lies around it."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.study.shared import mistaken_report

ADVICE = (
    "Confirm it by `conceptseg audit`, which changes the surroundings of whole objects; units can "
    "do more than detect one concept."
)


def verdict(result: Result) -> Verdict:
    """Context that a class uses, and the mistakes that lie on what was asked about."""
    return mistaken_report.beside(result, _of_context(result))


def _of_context(result: Result) -> Verdict:
    """Units that detect context and that a class uses are a concern.

    Context is what the data set itself names so; of one that names none nothing can be shown. That
    a class uses units which detect a colour, a texture or another class is no concern by itself:
    these may be of its own object.
    """
    losses = result.tables["losses"].rows
    outside = {
        row["concept"] for row in result.tables["concepts"].rows if row["category"] == "context"
    }
    acting = [row for row in losses if row["used"] and outside & set(row["concept"].split(" and "))]
    if acting:
        told = listed(f"{row['class']} by {row['concept']}" for row in acting)
        return concern(f"Classes use units that detect context: {told}.", ADVICE)
    if not outside:
        uses = (f"{row['class']} uses units of {row['concept']}" for row in losses if row["used"])
        used = listed(uses)
        return cannot_tell(
            "Whether classes use units that detect context was not asked: the data set names none."
            + (f" Shown is that {used}." if used else ""),
            "Look at what is used: a colour, a texture or another class may be of the "
            "surroundings. `conceptseg audit` changes these.",
        )
    blind = sum(row.get("verdict") in ("not testable", "underpowered") for row in losses)
    if not losses or blind > len(losses) / 2:
        return cannot_tell(
            f"Of {counted(len(losses), 'pair')} of class and concept, {blind} could hardly have "
            "been shown to be used.",
            "Give more images of each class, or another layer.",
        )
    return none_shown(
        f"No class was shown to use units that detect context ({', '.join(sorted(outside))}).",
        "Look at what is used all the same: a colour or a texture may be that of the surroundings.",
    )

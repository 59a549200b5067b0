"""What a diff study says as a whole: a concern where the checkpoint became worse."""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.result.columns import as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown


def verdict(result: Result) -> Verdict:
    """A concern where a class lost IoU, or owes more to what is not its own; none shown where all
    could have been tested and none did; else that it cannot tell. Other changes are said, too."""
    shown = [one for one in result.findings if one.standing == "evidence" and one.effect]
    worse = [one for one in shown if _worse(one, result)]
    others = [one for one in shown if one not in worse]
    beside = f" Other changes: {_told(others, result)}." if others else ""
    if worse:
        more = "" if result.notes["seeds"] else " How far trainings differ by chance is not known."
        return concern(
            f"The other checkpoint became worse: {_told(worse, result)}.{beside}",
            "Look at the concepts and images that changed before the checkpoint is used." + more,
        )
    tested = [row for name in ("classes", "shifts") for row in result.tables[name].rows]
    if not tested or any(row["p_adjusted"] is None for row in tested):
        return cannot_tell(
            f"No change for the worse was shown, and not every one could have been.{beside}",
            "Give more images, or groups of them.",
        )
    rows = result.tables["classes"].rows
    if 2 * sum(_unseen(row) for row in rows) > len(rows):
        return cannot_tell(
            "No change for the worse was shown, and most classes might have lost all of their IoU "
            f"without being found out.{beside}",
            "Give more images, or groups of them.",
        )
    if others:
        return none_shown(
            "No class was shown to lose IoU, nor to owe more to a concept that is not its own."
            + beside,
            "Look at what changed: a class may owe less to one concept because it owes more to "
            "another.",
        )
    return none_shown(
        "No class, and nothing that a class owes to a concept, was shown to change.",
        "See the changes that would have been detected before the checkpoint is used.",
    )


def _unseen(row: Mapping[str, Any]) -> bool:
    """Whether not even the loss of all of a class's IoU would often have been shown."""
    if "detectable" not in row:  # results of earlier versions
        return False
    return not as_number(row["detectable"]) <= as_number(row["before"])


def _worse(finding: Finding, result: Result) -> bool:
    """Whether a class lost IoU, or erasing a concept costs it more.

    Of a concept that lies on the class itself, it may well be more: there is more IoU to lose.
    """
    number = finding.details.get("concept")
    own = number is not None and _cells(result, "concepts", "name_after").get(number)
    return (finding.effect or 0.0) < 0 and (number is None or own != finding.class_)


def _told(found: Sequence[Finding], result: Result) -> str:
    """Which classes' IoU fell or rose, and which owe more or less to which concepts, in words."""
    names, parts = _cells(result, "shifts", "name"), []
    for words, less in ((("fell", "more"), True), (("rose", "less"), False)):
        own = [one for one in found if ((one.effect or 0.0) < 0) is less]
        iou = listed(str(one.class_) for one in own if "concept" not in one.details)
        numbers = [(one.class_, one.details["concept"]) for one in own if "concept" in one.details]
        owed = listed(f"{name} to {names.get(n, f'concept {n}')}" for name, n in numbers)
        parts += [f"IoU of {iou} {words[0]}"] if iou else []
        parts += [f"{words[1]} is owed to concepts, by {owed}"] if owed else []
    return "; ".join(parts)


def _cells(result: Result, table: str, column: str) -> dict[int, str]:
    """What a column says of each concept, by its number."""
    rows = result.tables[table].rows if table in result.tables else ()
    return {row["concept"]: str(row[column]) for row in rows if "concept" in row and column in row}
